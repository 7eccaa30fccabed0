// Who is signed in, how, and for how long. A token lives here, in memory, and nowhere else. An end is announced before
// it comes, and renewed unseen where that is possible: by refresh token, by a hidden frame, or by the access proxy.

import { Api, Refused, type Config, type Issuer, type Me } from '../api';
import { now } from '../present';
import { prefer, preferences } from '../preferences';
import { text } from '../text';
import * as oidc from './oidc';

export type How = 'token' | 'proxy' | 'oidc';
export type Standing = 'starting' | 'out' | 'in' | 'ended';

/** When to renew: two minutes before the end, or a fifth of a shorter life. */
export const renewAt = (from: number, end: number): number => end - Math.min(120e3, (end - from) / 5);

export class Session extends EventTarget {
  readonly api = new Api(() => (this.token ? `Bearer ${this.token}` : undefined), () => void this.doubt());
  config: Config = { version: '', issuers: [] };
  standing: Standing = 'starting';
  how: How = 'token';
  me: Me | undefined;
  /** The end in ms since 1970, or `Infinity`. */
  end = Infinity;
  renewing = false;
  private token: string | undefined;
  private since = 0;
  private issuer: Issuer | undefined;
  private refreshToken: string | undefined;
  private renewalFailedAt = -Infinity;
  private doubting = false;

  /** Finds out who is here: back from an issuer, through an access proxy, or nobody yet. Hands back words if signing in failed. */
  async start(): Promise<string | undefined> {
    this.config = await this.api.config();
    const back = oidc.readReturn(location.search);
    let problem: string | undefined;
    if (back) {
      history.replaceState(null, '', location.pathname + location.hash);
      try { return await this.arrive(back); } catch (error) {
        const quiet = back.error === 'login_required' || back.error === 'interaction_required';
        if (!quiet) problem = text.signIn.oidcFailed(messageOf(error));
      }
    }
    try { this.become('proxy', undefined, await this.api.me()); return undefined; } catch (error) {
      if (!(error instanceof Refused) || error.status === 0) throw error;
    }
    if (!back && await this.resume()) return undefined;
    this.stand('out');
    return problem;
  }

  /** Signs in with a pasted token, or renews with it. */
  async paste(pasted: string): Promise<void> {
    const token = pasted.trim().replace(/^Bearer\s+/i, '');
    const claims = oidc.claimsOf(token);
    if (!claims) throw new Error(text.signIn.notJwt);
    if (typeof claims['exp'] === 'number' && claims['exp'] * 1000 < now()) throw new Error(text.signIn.expired);
    this.become('token', token, await this.ask(token));
  }

  /** Leaves for the issuer; the browser comes back to where it is now. */
  async leaveFor(issuer: Issuer): Promise<void> {
    if (!oidc.possible()) throw new Error(text.signIn.insecure);
    location.assign(await oidc.departure(issuer, this.redirect, location.hash, false));
  }

  signOut(): void {
    this.token = this.refreshToken = this.me = undefined;
    this.end = Infinity;
    prefer({ issuer: '' });
    this.stand('out');
  }

  /** Called every second. */
  tick(): void {
    if (this.standing !== 'in') return;
    if (now() >= this.end && this.how !== 'proxy') this.stand('ended');
    else if (now() >= renewAt(this.since, this.end) && now() - this.renewalFailedAt > 20e3) void this.renew();
  }

  /** Whether an end is coming that only the viewer can put off. */
  get needsViewer(): boolean {
    return this.standing === 'in' && now() >= renewAt(this.since, this.end) && (this.how === 'token' || this.renewalFailedAt > this.since);
  }

  /** Tries to renew without the viewer. */
  async renew(): Promise<boolean> {
    if (this.renewing || this.how === 'token') return false;
    this.renewing = true;
    try {
      const before = this.end;
      if (this.how === 'proxy') this.become('proxy', undefined, await this.api.me());
      else await this.renewTokens();
      if (this.end <= before) { this.renewalFailedAt = now(); return false; }
      return true;
    } catch (error) {
      this.renewalFailedAt = now();
      if (now() >= this.end && error instanceof Refused && error.status !== 0) this.stand('ended');
      return false;
    } finally {
      this.renewing = false;
      this.dispatchEvent(new Event('change'));
    }
  }

  private async renewTokens(): Promise<void> {
    const issuer = this.issuer;
    if (!issuer) return;
    if (this.refreshToken) {
      try { return await this.take(issuer, await oidc.refresh(issuer, this.refreshToken)); } catch { this.refreshToken = undefined; }
    }
    const { tokens } = await oidc.arrival(await oidc.quietly(issuer, this.redirect), this.config.issuers, this.redirect);
    await this.take(issuer, tokens);
  }

  private async arrive(back: oidc.Return): Promise<undefined> {
    const { issuer, tokens, hash } = await oidc.arrival(back, this.config.issuers, this.redirect);
    if (hash) history.replaceState(null, '', location.pathname + hash);
    await this.take(issuer, tokens);
    prefer({ issuer: issuer.issuer });
    return undefined;
  }

  /** After a reload: if the last sign-in here was by an issuer, it may still know this browser. */
  private async resume(): Promise<boolean> {
    const issuer = this.config.issuers.find((issuer) => issuer.issuer === preferences.issuer);
    if (!issuer || !oidc.possible()) return false;
    try {
      const { tokens } = await oidc.arrival(await oidc.quietly(issuer, this.redirect, 4000), this.config.issuers, this.redirect);
      await this.take(issuer, tokens);
      return true;
    } catch { return false; }
  }

  /** Issuers differ in which of their tokens is meant for the gateway; the gateway knows. */
  private async take(issuer: Issuer, tokens: oidc.Tokens): Promise<void> {
    const candidates = [tokens.access_token, tokens.id_token].filter((token): token is string => !!token && !!oidc.claimsOf(token));
    let last: unknown = new Error('the issuer sent no JWT');
    for (const token of candidates) {
      try {
        const me = await this.ask(token);
        this.issuer = issuer;
        this.refreshToken = tokens.refresh_token ?? this.refreshToken;
        return this.become('oidc', token, me);
      } catch (error) { last = error; }
    }
    throw last;
  }

  private async ask(token: string): Promise<Me> {
    try { return await this.api.me(`Bearer ${token}`); } catch (error) {
      if (error instanceof Refused && error.status === 0) throw new Error(text.signIn.unreachable);
      if (error instanceof Refused) throw new Error(text.signIn.rejected(error.message));
      throw error;
    }
  }

  private become(how: How, token: string | undefined, me: Me): void {
    this.how = how;
    this.token = token;
    this.me = me;
    this.since = now();
    this.end = me.expires ? Date.parse(me.expires) : Infinity;
    this.renewalFailedAt = -Infinity;
    this.stand('in');
  }

  /** A request came back with 401: is the session over? */
  private async doubt(): Promise<void> {
    if (this.standing !== 'in' || this.doubting) return;
    this.doubting = true;
    try { await this.api.me(); } catch (error) {
      if (error instanceof Refused && error.status === 401 && !(await this.renew())) this.stand('ended');
    } finally { this.doubting = false; }
  }

  private stand(standing: Standing): void {
    this.standing = standing;
    this.dispatchEvent(new Event('change'));
  }

  private get redirect(): string { return `${location.origin}/`; }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
