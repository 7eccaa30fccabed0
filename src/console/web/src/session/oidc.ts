// Signing in with the company's issuer: authorization code with PKCE (RFC 7636), state and `iss` checked (RFC 9207).
// Tokens stay in memory; what must survive the trip to the issuer is the verifier, in this tab's session storage.

import type { Issuer } from '../api';

interface Trip { readonly issuer: string; readonly verifier: string; readonly nonce: string; readonly hash: string }
export interface Tokens { readonly access_token?: string; readonly id_token?: string; readonly refresh_token?: string }
/** What the issuer sent back with the browser. */
export interface Return { readonly code: string | null; readonly state: string | null; readonly error: string | null; readonly description: string | null; readonly iss: string | null }

const place = (state: string): string => `kvs-edge.oidc.${state}`;
const base64url = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const random = (): string => base64url(crypto.getRandomValues(new Uint8Array(32)));

/** The code challenge of a verifier: `BASE64URL(SHA256(verifier))`. */
export async function challenge(verifier: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier))));
}

/** Whether this page may do the arithmetic: browsers keep it for secure contexts. */
export const possible = (): boolean => globalThis.crypto?.subtle !== undefined;

/** The address at the issuer to send the browser to. `silent` asks it not to show anything. */
export async function departure(issuer: Issuer, redirect: string, hash: string, silent: boolean): Promise<string> {
  const [state, verifier, nonce] = [random(), random(), random()];
  const trip: Trip = { issuer: issuer.issuer, verifier, nonce, hash };
  sessionStorage.setItem(place(state), JSON.stringify(trip));
  const url = new URL((await endpoints(issuer)).authorization_endpoint);
  const query = {
    response_type: 'code', client_id: issuer.client_id, redirect_uri: redirect, scope: issuer.scope || 'openid', state, nonce,
    code_challenge: await challenge(verifier), code_challenge_method: 'S256', ...(silent && { prompt: 'none' }),
  };
  for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
  return url.href;
}

interface Endpoints { readonly authorization_endpoint: string; readonly token_endpoint: string }
const discovered = new Map<string, Endpoints>();

/** Where the issuer signs people in: as the gateway says, or as the issuer itself does. */
async function endpoints(issuer: Issuer): Promise<Endpoints> {
  const { authorization_endpoint, token_endpoint } = issuer;
  if (authorization_endpoint && token_endpoint) return { authorization_endpoint, token_endpoint };
  const known = discovered.get(issuer.issuer);
  if (known) return known;
  const answer = await fetch(`${issuer.issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, { credentials: 'omit' });
  const found = (await answer.json()) as Endpoints & { issuer: string };
  if (found.issuer !== issuer.issuer) throw new Error(`the issuer calls itself ${found.issuer}`);
  discovered.set(issuer.issuer, found);
  return found;
}

/** Reads what came back, if anything did. */
export function readReturn(search: string): Return | undefined {
  const query = new URLSearchParams(search);
  if (!query.has('state') || !(query.has('code') || query.has('error'))) return undefined;
  const get = (key: string) => query.get(key);
  return { code: get('code'), state: get('state'), error: get('error'), description: get('error_description'), iss: get('iss') };
}

/** Trades the code for tokens. Hands back where the viewer was, too. */
export async function arrival(back: Return, issuers: readonly Issuer[], redirect: string): Promise<{ issuer: Issuer; tokens: Tokens; hash: string }> {
  const kept = back.state ? sessionStorage.getItem(place(back.state)) : null;
  if (!kept) throw new Error('the answer does not belong to a sign-in that began in this tab');
  sessionStorage.removeItem(place(back.state ?? ''));
  const trip = JSON.parse(kept) as Trip;
  const issuer = issuers.find((issuer) => issuer.issuer === trip.issuer);
  if (!issuer) throw new Error(`the gateway no longer knows ${trip.issuer}`);
  if (back.iss !== null && back.iss !== issuer.issuer) throw new Error('the answer came from another issuer');
  if (back.error || !back.code) throw new Error(back.description ?? back.error ?? 'no code came back');
  const tokens = await trade(issuer, { grant_type: 'authorization_code', code: back.code, redirect_uri: redirect, code_verifier: trip.verifier });
  if (tokens.id_token && claimsOf(tokens.id_token)?.['nonce'] !== trip.nonce) throw new Error('the answer belongs to another sign-in');
  return { issuer, tokens, hash: trip.hash };
}

/** Fresh tokens for a refresh token, where the issuer gave one. */
export const refresh = (issuer: Issuer, token: string): Promise<Tokens> => trade(issuer, { grant_type: 'refresh_token', refresh_token: token });

async function trade(issuer: Issuer, form: Record<string, string>): Promise<Tokens> {
  const body = new URLSearchParams({ ...form, client_id: issuer.client_id });
  const answer = await fetch((await endpoints(issuer)).token_endpoint, { method: 'POST', body, credentials: 'omit' });
  const tokens = (await answer.json().catch(() => ({}))) as Tokens & { error?: string; error_description?: string };
  if (!answer.ok) throw new Error(tokens.error_description ?? tokens.error ?? `the issuer answered with ${answer.status}`);
  return tokens;
}

/** Asks for fresh tokens in a hidden frame. It works while the issuer's own session lasts and its cookie reaches the frame. */
export async function quietly(issuer: Issuer, redirect: string, within = 10_000): Promise<Return> {
  const frame = document.createElement('iframe');
  frame.hidden = true;
  frame.title = '';
  frame.src = await departure(issuer, redirect, '', true);
  try {
    return await new Promise<Return>((resolve, reject) => {
      const listen = (event: MessageEvent) => {
        if (event.origin !== location.origin || event.source !== frame.contentWindow) return;
        const back = readReturn(String(event.data));
        if (back) { removeEventListener('message', listen); resolve(back); }
      };
      addEventListener('message', listen);
      setTimeout(() => { removeEventListener('message', listen); reject(new Error('the issuer did not answer in time')); }, within);
      document.body.append(frame);
    });
  } finally {
    frame.remove();
  }
}

/** A JWT's claims, unverified: the gateway judges, this only reads. `undefined` if it is no JWT. */
export function claimsOf(token: string): Record<string, unknown> | undefined {
  const part = token.split('.');
  if (part.length !== 3 || !part[1]) return undefined;
  try {
    const bytes = Uint8Array.from(atob(part[1].replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as unknown;
    return typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>) : undefined;
  } catch { return undefined; }
}
