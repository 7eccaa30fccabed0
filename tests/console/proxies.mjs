// Access proxies in front of a gateway: Debian's Apache with mod_auth_openidc, and a small one that answers as oauth2-proxy,
// Cloudflare Access and others do.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as send } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { secretOf } from './shapes.mjs';
import { freePort, pause } from './world.mjs';

const MODULES = ['mpm_event', 'authn_core', 'authz_core', 'authz_user', 'auth_openidc', 'proxy', 'proxy_http', 'headers', 'env', 'setenvif'];
/** What programs call without a browser: the gateway judges their own token, or the address is the credential. */
const CALLS = '^/(getDataEndpoint|describeStream|listStreams|listFragments|getMediaForFragmentList|getClip|getImages|getHLSStreamingSessionURL|getDASHStreamingSessionURL)$';
const CAPABILITIES = '^/(hls|dash|clip|image)/v1/';

/** Debian's Apache with mod_auth_openidc, as docs/IDENTITY.md sets it up, on `port` in front of `gateway`. */
export async function startApache({ port, gateway, provider, clientId }) {
  const folder = mkdtempSync(join(tmpdir(), 'kvs-edge-apache-'));
  const base = `http://127.0.0.1:${port}`;
  const config = `
ServerRoot ${folder}
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile ${folder}/pid
ErrorLog ${folder}/error.log
LogLevel warn
User www-data
Group www-data
${MODULES.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
OIDCProviderMetadataURL ${provider.issuer.replace(/\/$/, '')}/.well-known/openid-configuration
OIDCClientID "${clientId}"
OIDCClientSecret "${secretOf()}"
OIDCRedirectURI ${base}/redirect_uri
OIDCCryptoPassphrase "of no importance here"
OIDCScope "openid"
OIDCPKCEMethod S256
OIDCCookieSameSite On
OIDCRefreshAccessTokenBeforeExpiry 5
OIDCPassClaimsAs environment
RequestHeader unset X-Forwarded-Access-Token early
<Location />
  AuthType openid-connect
  Require valid-user
  RequestHeader set X-Forwarded-Access-Token "%{OIDC_access_token}e" env=OIDC_access_token
</Location>
<LocationMatch "${CAPABILITIES}">
  AuthType None
  Require all granted
</LocationMatch>
<LocationMatch "${CALLS}">
  <If "-n req('X-Amz-Security-Token') || req('Authorization') =~ /^Bearer /">
    AuthType None
    Require all granted
  </If>
</LocationMatch>
ProxyPreserveHost On
ProxyPass /redirect_uri !
ProxyPass / ${gateway}/
`;
  writeFileSync(join(folder, 'apache.conf'), config);
  const child = spawn('/usr/sbin/apache2', ['-f', join(folder, 'apache.conf'), '-DFOREGROUND'], { stdio: 'ignore' });
  process.once('exit', () => child.kill('SIGTERM'));
  const log = () => { try { return readFileSync(join(folder, 'error.log'), 'utf8'); } catch { return ''; } };
  for (let tries = 0; ; tries++) {
    try { await fetch(base, { redirect: 'manual' }); break; } catch { /* not yet */ }
    if (tries > 100 || child.exitCode !== null) throw new Error(`Apache does not answer: ${log()}`);
    await pause(100);
  }
  return {
    base, log,
    stop: async () => { const gone = new Promise((resolve) => { child.once('exit', resolve); }); child.kill('SIGTERM'); await gone; rmSync(folder, { recursive: true, force: true }); },
  };
}

/**
 * A proxy that answers as others do while nobody is signed in. `mode`: `status` answers scripts with 401 and people with a
 * redirect (oauth2-proxy), `redirect` redirects all to another site (Cloudflare Access), `page` answers all with its sign-in
 * page (older ones). Who is signed in gets what `gateway` answers, asked for with the token in `header`.
 */
export async function startProxy({ token }) {
  const port = await freePort();
  const proxy = { base: `http://127.0.0.1:${port}`, mode: 'status', header: 'x-forwarded-access-token', gateway: undefined, signedOut: 0, refused: [], down: undefined };
  const server = createServer((request, response) => {
    if (proxy.down) { proxy.refused.push(request.url); response.writeHead(proxy.down.status, proxy.down.headers); return response.end(); }
    const path = new URL(request.url, proxy.base).pathname;
    if (path === '/oauth2/start') { response.writeHead(302, { location: '/', 'set-cookie': '_oauth2_proxy=1; HttpOnly; SameSite=Lax; Path=/' }); return response.end(); }
    if (path === '/oauth2/sign_out') { proxy.signedOut += 1; response.writeHead(302, { location: '/', 'set-cookie': '_oauth2_proxy=; Max-Age=0; Path=/' }); return response.end(); }
    // Routes without authentication get the token of a session all the same, if there is one.
    const open = new RegExp(CAPABILITIES).test(path) || (new RegExp(CALLS).test(path) && request.headers['x-amz-security-token']);
    const signedIn = /_oauth2_proxy=1/.test(request.headers.cookie ?? '');
    if (!open && !signedIn) return refuse(request, response);
    const headers = { ...request.headers };
    delete headers['x-forwarded-access-token'];
    if (signedIn) headers[proxy.header] = proxy.header === 'authorization' ? `Bearer ${token}` : token;
    const target = new URL(proxy.gateway);
    const passed = send({ host: target.hostname, port: target.port, path: request.url, method: request.method, headers }, (answer) => { response.writeHead(answer.statusCode, answer.headers); answer.pipe(response); });
    passed.on('error', () => response.destroy());
    response.on('close', () => passed.destroy());
    request.pipe(passed);
  });
  function refuse(request, response) {
    const script = (request.headers.accept ?? '').split(',').some((type) => type.trim() === 'application/json');
    if (script) proxy.refused.push(request.url);
    const page = '<!DOCTYPE html><title>Sign in</title><a href="/oauth2/start">Sign in with your company</a>';
    if (proxy.mode === 'page') { response.writeHead(200, { 'content-type': 'text/html' }); return response.end(page); }
    if (proxy.mode === 'status' && script) { response.writeHead(401, { 'content-type': 'application/json' }); return response.end('{}'); }
    if (proxy.mode === 'status') { response.writeHead(403, { 'content-type': 'text/html' }); return response.end(page); }
    response.writeHead(302, { location: script ? 'https://login.company.example/' : '/oauth2/start' });
    return response.end();
  }
  await new Promise((resolve) => { server.listen(port, '127.0.0.1', resolve); });
  proxy.stop = () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); });
  return proxy;
}
