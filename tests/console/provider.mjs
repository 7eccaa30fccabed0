// A real OpenID Connect provider on loopback (oidc-provider from npm), with one public client that must use PKCE.

import { pathToFileURL } from 'node:url';
import { resolveFromWeb } from './browser.mjs';

/** Starts it. Its tokens are JWTs that live for `seconds`; `issued()` counts them. */
export async function startProvider({ port, redirect, seconds }) {
  const { default: Provider } = await import(pathToFileURL(resolveFromWeb('oidc-provider')).href);
  let issued = 0;
  const audience = 'kvs-edge';
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{ client_id: 'console', token_endpoint_auth_method: 'none', redirect_uris: [redirect], grant_types: ['authorization_code'], response_types: ['code'] }],
    pkce: { required: () => true },
    clientBasedCORS: (_ctx, origin) => origin === new URL(redirect).origin,
    ttl: { AccessToken: seconds, IdToken: seconds, Session: 3600, Grant: 3600, Interaction: 600, AuthorizationCode: 60 },
    cookies: { keys: ['of no importance'] },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: ['guards'] }) }),
    claims: { openid: ['sub', 'groups'] },
    conformIdTokenClaims: false,
    features: {
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true, defaultResource: () => `urn:${audience}`, useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: 'openid', audience, accessTokenFormat: 'jwt', accessTokenTTL: seconds, jwt: { sign: { alg: 'RS256' } } }),
      },
    },
    extraTokenClaims: () => ({ groups: ['guards'] }),
  });
  provider.on('access_token.issued', () => { issued += 1; });
  if (process.env.VERBOSE) provider.on('server_error', (_ctx, error) => console.log('# provider', error));
  const server = await new Promise((resolve) => { const listening = provider.listen(port, '127.0.0.1', () => resolve(listening)); });
  return { issued: () => issued, stop: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }) };
}
