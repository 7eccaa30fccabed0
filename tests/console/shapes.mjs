// Identity providers on loopback that differ as the real ones do: where the issuer's document is and where its endpoints
// are (another site, without CORS), how a client shows its secret, which token is for the gateway, whether there is a
// refresh token and whether it changes, and how somebody signs out. Tokens are real JWTs; what is not allowed is refused.

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
import { resolveFromWeb } from './browser.mjs';

const { SignJWT, exportJWK, generateKeyPair } = await import(pathToFileURL(resolveFromWeb('jose')).href);
const TENANT = '11111111-2222-3333-4444-555555555555';
const SECRET = 's3cr:t/+ä';
const CLIENT = 'kvs-edge console';

/** What each is like. `toml` gets the issuer and where the client's secret is. */
export const SHAPES = {
  Okta: {
    issuer: (origin) => `${origin}/oauth2/default`, auth: ['basic'], access: () => ({ aud: 'api://kvs-edge', groups: ['investigators'], scp: ['openid'] }),
    refresh: 'rotates', document: (at) => ({ end_session_endpoint: `${at}/v1/logout`, revocation_endpoint: `${at}/v1/revoke` }), hintNeeded: true,
    toml: (issuer, secret) => `issuer = "${issuer}"\naudience = ["api://kvs-edge"]\ndiscovery = true\nclient_secret = "${secret}"\nscopes = ["openid", "offline_access"]\nclaims = { subject = "/sub", groups = "/groups" }`,
  },
  Entra: {
    issuer: (origin) => `${origin}/${TENANT}/v2.0`, auth: ['post'], access: (sub) => ({ aud: CLIENT, oid: sub, tid: TENANT, roles: ['investigators'], ver: '2.0', ...(sub === 'member-of-many' && { groups: Array.from({ length: 190 }, () => randomUUID()) }) }), id: (sub) => ({ oid: sub, tid: TENANT }),
    subject: 'pairwise', refresh: 'new', document: (at) => ({ end_session_endpoint: `${at}/oauth2/v2.0/logout` }),
    toml: (issuer, secret) => `issuer = "${issuer}"\naudience = ["${CLIENT}"]\ndiscovery = true\nrequire = { "/tid" = "${TENANT}" }\nclient_secret = "${secret}"\nscopes = ["openid", "offline_access", "api://kvs-edge/.default"]\nclaims = { subject = "/oid", groups = "/roles" }`,
  },
  Auth0: {
    // Its document names both ways, and the client has one.
    issuer: (origin) => `${origin}/`, auth: ['post'], told: ['client_secret_basic', 'client_secret_post'],
    access: (_sub, query) => (query.audience === 'https://kvs-edge.example.com' ? { aud: [query.audience, 'https://x.example/userinfo'], 'https://example.com/groups': ['investigators'] } : undefined),
    refresh: 'rotates', document: (at) => ({ end_session_endpoint: `${at}/oidc/logout`, revocation_endpoint: `${at}/oauth/revoke` }),
    toml: (issuer, secret) => `issuer = "${issuer}"\naudience = ["https://kvs-edge.example.com"]\ndiscovery = true\nclient_secret = "${secret}"\nscopes = ["openid", "offline_access"]\nextra = { audience = "https://kvs-edge.example.com" }\nclaims = { subject = "/sub", groups = "/https:~1~1example.com~1groups" }`,
  },
  Keycloak: {
    issuer: (origin) => `${origin}/realms/main`, auth: ['basic', 'post'], namesItself: true, access: (sub) => ({ aud: ['kvs-edge', 'account'], preferred_username: sub, realm_access: { roles: ['investigators', 'offline_access'] } }),
    subject: 'f3a1', refresh: 'rotates', document: (at) => ({ end_session_endpoint: `${at}/protocol/openid-connect/logout`, revocation_endpoint: `${at}/protocol/openid-connect/revoke` }),
    toml: (issuer, secret) => `issuer = "${issuer}"\naudience = ["kvs-edge"]\ndiscovery = true\nclient_secret = "${secret}"\nclaims = { subject = "/preferred_username", groups = "/realm_access/roles" }`,
  },
  Google: {
    // No JWT but the ID token, no sign-out, and without `access_type` no refresh token.
    issuer: (origin) => origin, auth: ['basic', 'post'], namesItself: true, access: () => undefined, id: (sub) => ({ hd: 'example.com', email: `${sub}@example.com`, email_verified: true }),
    refresh: 'never', document: (at) => ({ revocation_endpoint: `${at}/revoke` }), subjectShown: (who) => `${who}@example.com`, user: 'alice',
    toml: (issuer, secret) => `issuer = "${issuer}"\naudience = ["${CLIENT}"]\ndiscovery = true\nrequire = { "/hd" = "example.com", "/email_verified" = true }\nclient_secret = "${secret}"\nclaims = { subject = "/email" }`,
  },
  Cognito: {
    issuer: (origin) => `${origin}/eu-west-1_AbCdEfGhI`, auth: ['basic'], access: (sub) => ({ aud: undefined, token_use: 'access', client_id: CLIENT, username: sub, 'cognito:groups': ['investigators'] }), id: (sub) => ({ token_use: 'id', 'cognito:username': sub }),
    subject: 'aaaa-bbbb', refresh: 'same', document: (at) => ({ end_session_endpoint: `${at}/logout`, revocation_endpoint: `${at}/oauth2/revoke` }), logoutUri: true,
    toml: (issuer, secret) => `kind = "cognito"\nissuer = "${issuer}"\naudience = ["${CLIENT}"]\nrequire = { "/token_use" = "access" }\nclient_secret = "${secret}"\nclaims = { subject = "/username" }`,
  },
  Dex: {
    // A public client: no secret at all.
    issuer: (origin) => `${origin}/dex`, auth: ['none'], access: () => undefined, id: (sub) => ({ email: `${sub}@example.com`, email_verified: true, groups: ['investigators'] }),
    refresh: 'rotates', document: () => ({}), subjectShown: (who) => `${who}@example.com`,
    toml: (issuer) => `issuer = "${issuer}"\naudience = ["${CLIENT}"]\ndiscovery = true\nrequire = { "/email_verified" = true }\nscopes = ["openid", "email", "groups", "offline_access"]\nclaims = { subject = "/email", groups = "/groups" }`,
  },
};

/** The client's secret, as the gateway reads it from a file. */
export const secretOf = () => SECRET;
const random = () => randomBytes(16).toString('base64url');
const listen = (server, host) => new Promise((resolve) => { server.listen(0, host, () => resolve(server.address().port)); });

/** Starts the provider of a shape. Its tokens live for `seconds`. `redirect` is set once the gateway's address is known. */
export async function startShape(name, { seconds }) {
  const shape = SHAPES[name];
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  const jwk = { ...(await exportJWK(publicKey)), kid: 'one', use: 'sig', alg: 'RS256' };
  const known = { codes: new Map(), refresh: new Map(), signedIn: new Map() };
  const provider = { name, shape, home: undefined, issued: 0, reused: 0, revoked: 0, signedOut: [], refused: [], ask: [] };
  // The issuer's own site has nothing but documents; everything else is at another one.
  const documents = createServer((request, response) => {
    provider.ask.push(request.url);
    const path = new URL(request.url, provider.issuer).pathname;
    if (path === `${new URL(provider.issuer).pathname.replace(/\/$/, '')}/.well-known/openid-configuration`) return json(response, 200, provider.document);
    return json(response, 404, {});
  });
  const endpoints = createServer((request, response) => { serve(request, response).catch((error) => json(response, 500, { error: String(error) })); });
  const origin = `http://127.0.0.1:${await listen(documents, '127.0.0.1')}`;
  const at = `http://localhost:${await listen(endpoints, '127.0.0.1')}`;
  provider.issuer = shape.issuer(origin);
  const methods = shape.told ?? shape.auth.map((way) => ({ basic: 'client_secret_basic', post: 'client_secret_post', none: 'none' })[way]);
  provider.document = {
    issuer: provider.issuer, authorization_endpoint: `${at}/authorize`, token_endpoint: `${at}/token`, jwks_uri: `${at}/keys`, token_endpoint_auth_methods_supported: methods,
    response_types_supported: ['code'], code_challenge_methods_supported: ['S256'], ...(shape.namesItself && { authorization_response_iss_parameter_supported: true }), ...shape.document(at),
  };

  async function serve(request, response) {
    const url = new URL(request.url, at);
    const form = request.method === 'POST' ? Object.fromEntries(new URLSearchParams(await body(request))) : {};
    if (url.pathname === '/keys') return json(response, 200, { keys: [jwk] });
    if (url.pathname === '/authorize') return authorize(Object.fromEntries(url.searchParams), request, response);
    if (url.pathname === '/signed-in') return signedIn(form, response);
    if (url.pathname === '/token') return token(request, form, response);
    if (url.pathname === new URL(provider.document.end_session_endpoint ?? 'http://x/none').pathname) return signOut(url.searchParams, response);
    if (url.pathname === new URL(provider.document.revocation_endpoint ?? 'http://x/none').pathname) { provider.revoked += known.refresh.delete(form.token) ? 1 : 0; response.writeHead(200); return response.end(); }
    return json(response, 404, {});
  }

  function authorize(query, request, response) {
    const wrong = query.response_type !== 'code' || query.client_id !== CLIENT || query.code_challenge_method !== 'S256' || !/^[\w-]{43}$/.test(query.code_challenge ?? '') || !query.state || !query.nonce || !query.scope?.split(' ').includes('openid') || query.redirect_uri !== (provider.redirect ?? `${provider.home}/console/sign-in/callback`);
    if (wrong) { provider.refused.push(query); return html(response, 400, '<h1>invalid_request</h1>'); }
    const who = known.signedIn.get(/provider=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1]);
    if (who) return back(query, who, response);
    if (query.prompt === 'none') return to(response, query, { error: 'login_required' });
    const fields = Object.entries(query).map(([key, value]) => `<input type="hidden" name="q_${key}" value="${value.replaceAll('&', '&amp;').replaceAll('"', '&quot;')}">`).join('');
    return html(response, 200, `<form method="post" action="/signed-in"><input name="login"><input name="password" type="password">${fields}<button type="submit">Sign in</button></form>`);
  }

  function signedIn(form, response) {
    const query = Object.fromEntries(Object.entries(form).filter(([key]) => key.startsWith('q_')).map(([key, value]) => [key.slice(2), value]));
    const session = random();
    known.signedIn.set(session, form.login);
    response.setHeader('set-cookie', `provider=${session}; HttpOnly; SameSite=Lax; Path=/`);
    return back(query, form.login, response);
  }

  function back(query, who, response) {
    const code = random();
    known.codes.set(code, { query, who });
    return to(response, query, { code });
  }

  function to(response, query, answer) {
    const search = new URLSearchParams({ ...answer, state: query.state, ...(shape.namesItself && { iss: provider.issuer }) });
    response.writeHead(302, { location: `${query.redirect_uri}?${search}` });
    return response.end();
  }

  async function token(request, form, response) {
    const basic = `Basic ${Buffer.from(`${encodeURIComponent(CLIENT)}:${encodeURIComponent(SECRET)}`).toString('base64')}`;
    const shown = { basic: request.headers.authorization === basic && !form.client_secret, post: form.client_id === CLIENT && form.client_secret === SECRET && !request.headers.authorization, none: form.client_id === CLIENT && !form.client_secret && !request.headers.authorization };
    if (!shape.auth.some((way) => shown[way])) return json(response, 401, { error: 'invalid_client' });
    if (request.headers.origin) return json(response, 400, { error: 'a page asks for tokens' });
    let grant;
    if (form.grant_type === 'authorization_code') {
      grant = known.codes.get(form.code);
      known.codes.delete(form.code);
      const fits = grant && form.redirect_uri === grant.query.redirect_uri && createHash('sha256').update(form.code_verifier ?? '').digest('base64url') === grant.query.code_challenge;
      if (!fits) return json(response, 400, { error: 'invalid_grant' });
    } else {
      grant = known.refresh.get(form.refresh_token);
      if (!grant) { provider.reused += 1; return json(response, 400, { error: 'invalid_grant' }); }
      if (shape.refresh === 'rotates') known.refresh.delete(form.refresh_token);
    }
    provider.issued += 1;
    const again = form.grant_type === 'refresh_token';
    const { query, who } = grant;
    const sign = (claims) => new SignJWT({ sub: shape.subject ?? who, n: provider.issued, ...claims }).setProtectedHeader({ alg: 'RS256', kid: 'one', typ: 'JWT' }).setIssuer(provider.issuer).setIssuedAt().setExpirationTime(`${seconds}s`).sign(privateKey);
    const access = shape.access(who, query);
    const answer = { token_type: 'Bearer', expires_in: seconds, access_token: access ? await sign(access) : random() };
    if (!(again && name === 'Okta')) answer.id_token = await sign({ aud: CLIENT, ...(again ? {} : { nonce: query.nonce }), ...shape.id?.(who) });
    const wanted = shape.refresh !== 'never' && (['Keycloak', 'Cognito'].includes(name) || query.scope.includes('offline_access'));
    if (wanted && !(again && shape.refresh === 'same')) {
      answer.refresh_token = random();
      known.refresh.set(answer.refresh_token, grant);
    }
    return json(response, 200, answer);
  }

  function signOut(query, response) {
    const home = query.get(shape.logoutUri ? 'logout_uri' : 'post_logout_redirect_uri');
    const good = home === `${provider.home}/` && [CLIENT, ...(provider.redirect ? [null] : [])].includes(query.get('client_id')) && (!shape.hintNeeded || query.get('id_token_hint')?.split('.').length === 3);
    if (!good) { provider.refused.push(query.toString()); return html(response, 400, '<h1>invalid_request</h1>'); }
    known.signedIn.clear();
    provider.signedOut.push(home);
    response.writeHead(302, { location: home, 'set-cookie': 'provider=; Max-Age=0; Path=/' });
    return response.end();
  }

  provider.stop = () => Promise.all([documents, endpoints].map((server) => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); })));
  return provider;
}

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
}

function json(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

function html(response, status, text) {
  response.writeHead(status, { 'content-type': 'text/html' });
  response.end(text);
}
