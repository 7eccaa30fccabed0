{{- define "kvs-edge.name" -}}
{{- if contains "kvs-edge" .Release.Name -}}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-kvs-edge" .Release.Name | trunc 63 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "kvs-edge.selector" -}}
app.kubernetes.io/name: kvs-edge
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kvs-edge.labels" -}}
{{ include "kvs-edge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "kvs-edge.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "kvs-edge.name" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end -}}
{{- end -}}

{{- define "kvs-edge.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ required "image.tag or image.digest" .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{/* [cache.shared] as environment: settings of a chart that does not read TOML. */}}
{{- define "kvs-edge.sharedEnv" -}}
{{- with .Values.shared }}{{- if .url -}}
- { name: KVS_EDGE__CACHE__SHARED__URL, value: {{ .url | quote }} }
- { name: KVS_EDGE__CACHE__SHARED__MODE, value: {{ .mode | quote }} }
{{- if .passwordSecret.name }}
- name: KVS_EDGE_STORE_PASSWORD
  valueFrom:
    secretKeyRef: { name: {{ .passwordSecret.name }}, key: {{ .passwordSecret.key }} }
- { name: KVS_EDGE__CACHE__SHARED__PASSWORD, value: "env:KVS_EDGE_STORE_PASSWORD" }
{{- end }}
{{- if .caSecret }}
- { name: KVS_EDGE__CACHE__SHARED__CA, value: /etc/kvs-edge-store/ca.crt }
{{- end }}
{{- if .s3.bucket }}
- { name: KVS_EDGE__CACHE__SHARED__S3__BUCKET, value: {{ .s3.bucket | quote }} }
- { name: KVS_EDGE__CACHE__SHARED__S3__REGION, value: {{ required "shared.s3.region" .s3.region | quote }} }
- { name: KVS_EDGE__CACHE__SHARED__S3__PREFIX, value: {{ .s3.prefix | quote }} }
{{- end }}
{{- range $name, $value := .settings }}
- { name: KVS_EDGE__CACHE__SHARED__{{ upper $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}{{- end }}
{{- end -}}
