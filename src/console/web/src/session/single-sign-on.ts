// Signing in with the company's identity provider. The gateway does it: it sends the browser there, gets the tokens and keeps
// them in sealed cookies that no script can read. This page only knows the way, and the word that comes back with a failure.

/** What the gateway said when it sent the browser back: nothing went wrong unless there is a `problem`. */
export interface Return { readonly problem: string | undefined }

/** Reads what came back, if anything did. */
export function readReturn(search: string): Return | undefined {
  const query = new URLSearchParams(search);
  const problem = query.get('sign_in_problem') ?? undefined;
  return problem !== undefined || query.has('signed_in') ? { problem } : undefined;
}

/** Where a sign-in begins; it leads back to `hash`. `quiet` lets the provider show nothing. */
export function departure(issuer: string, hash: string, quiet = false): string {
  return `/console/sign-in?${new URLSearchParams({ issuer, return: hash, ...(quiet && { quiet: '1' }) })}`;
}

/** Signs in again in a hidden frame. It works while the provider's own session lasts and its cookie reaches the frame. */
export async function quietly(issuer: string, within = 10_000): Promise<void> {
  const frame = document.createElement('iframe');
  frame.hidden = true;
  frame.title = '';
  frame.src = departure(issuer, '', true);
  const away = new AbortController();
  try {
    await new Promise<void>((resolve, reject) => {
      addEventListener('message', (event: MessageEvent) => {
        if (event.origin !== location.origin || event.source !== frame.contentWindow) return;
        const back = readReturn(String(event.data));
        if (back) { if (back.problem) reject(new Error(back.problem)); else resolve(); }
      }, { signal: away.signal });
      setTimeout(() => reject(new Error('the provider did not answer in time')), within);
      document.body.append(frame);
    });
  } finally {
    away.abort();
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
