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
