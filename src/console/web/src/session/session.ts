// Who is signed in, how, and for how long. A pasted token lives here, in memory, and nowhere else; all other sessions are the
// gateway's or an access proxy's, in cookies that no script reads. An end is announced before it comes, and renewed unseen
// where that is possible: by the gateway's refresh token, by a hidden frame, or by the access proxy.

import { Api, Refused, type Config, type Me } from '../api';
import { now } from '../present';
import { prefer, preferences } from '../preferences';
import { text } from '../text';
import { claimsOf, departure, quietly, readReturn } from './single-sign-on';
import { Tabs, type News } from './tabs';

export type How = 'token' | 'proxy' | 'oidc';
export type Standing = 'starting' | 'out' | 'in' | 'ended';

/** After a renewal that failed the next one waits for so long, in ms. */
const RENEW_AGAIN = 20e3;

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
  /** An access proxy answered in place of the gateway: it signs people in when they load a page. */
  behindProxy = false;
  private token: string | undefined;
  private since = 0;
  private renewalFailedAt = -Infinity;
  private doubting = false;
  private readonly tabs = new Tabs();

  /** Finds out who is here: by the gateway's session, through an access proxy, or nobody yet. Hands back words if signing in failed. */
  async start(): Promise<string | undefined> {
    this.config = await this.api.config();
    const back = readReturn(location.search);
    if (back) history.replaceState(null, '', location.pathname + location.hash);
    if (this.standing === 'starting') this.tabs.listen((news) => void this.hear(news));
    try {
      await this.arrive();
      if (this.how === 'oidc') this.tabs.tell('in');
      return undefined;
    } catch (error) {
      if (!(error instanceof Refused) || error.status === 0) throw error;
      this.behindProxy = error.type === 'ProxyPage';
    }
    if (!back?.problem && await this.resume()) return undefined;
    this.stand('out');
    return back?.problem && text.signIn.oidcFailed(text.signIn.problems[back.problem] ?? back.problem.replaceAll('_', ' '));
  }

  /** Signs in with a pasted token, or renews with it. */
  async paste(pasted: string): Promise<void> {
    const token = pasted.trim().replace(/^Bearer\s+/i, '');
    const claims = claimsOf(token);
    if (!claims) throw new Error(text.signIn.notJwt);
    if (typeof claims['exp'] === 'number' && claims['exp'] * 1000 < now()) throw new Error(text.signIn.expired);
    // Two credentials in one request are refused.
    if (preferences.issuer) await this.forget().catch(() => undefined);
    this.become('token', token, await this.ask(token));
  }

  /** Leaves for the provider; the browser comes back to where it is now. */
  leaveFor(issuer: string): void { location.assign(departure(issuer, location.hash)); }

  /** Signs out here, in the other tabs, and at the provider or the access proxy. */
  async signOut(): Promise<void> {
    const { how } = this;
    let leave = how === 'proxy' ? this.config.sign_out : undefined;
    if (how === 'oidc') leave = await this.forget();
    if (how !== 'token') this.tabs.tell('out');
    this.leave();
    if (leave) location.assign(leave);
  }

  /** Called every second. */
  tick(): void {
    if (this.standing !== 'in') return;
    if (now() >= this.end && this.how === 'token') this.stand('ended');
    else if (now() >= renewAt(this.since, this.end) && now() - this.renewalFailedAt > RENEW_AGAIN) void this.renew();
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
      if (this.how === 'proxy') await this.arrive();
      else await this.tabs.alone(() => this.renewSession(before));
      if (this.end <= before) { this.renewalFailedAt = now(); return false; }
      if (this.how === 'oidc') this.tabs.tell('in');
      return true;
    } catch (error) {
      this.renewalFailedAt = now();
      // While the gateway or the provider does not answer, nothing is known.
      if (now() >= this.end && error instanceof Refused && error.status === 401) this.stand('ended');
      return false;
    } finally {
      this.renewing = false;
      this.dispatchEvent(new Event('change'));
    }
  }

  private async renewSession(before: number): Promise<void> {
    // Another tab may have renewed it while this one waited.
    try { await this.arrive(); if (this.end > before) return; } catch (error) { if (!isOver(error)) throw error; }
    let over: unknown = new Refused(401, '', text.session.ended);
    if (this.me?.signed_in?.renews) {
      try { await this.api.renew(); return await this.arrive(); } catch (error) { if (!isOver(error)) throw error; over = error; }
    }
    try { await quietly(this.me?.issuer ?? preferences.issuer); } catch { throw over; }
    await this.arrive();
  }

  /** After a reload or a long sleep: the session may be renewable, or the provider may still know this browser. */
  private async resume(): Promise<boolean> {
    const { issuer } = preferences;
    if (!issuer || !this.config.issuers.some((known) => known.issuer === issuer)) return false;
    try {
      await this.tabs.alone(async () => { try { await this.api.renew(); } catch { await quietly(issuer, 4000); } });
      await this.arrive();
      return true;
    } catch { return false; }
  }

  /** Asks who the gateway's cookie, or the access proxy, says that this is. */
  private async arrive(): Promise<void> {
    const me = await this.api.session();
    if (!me) throw new Refused(401, '', text.session.ended);
    this.become(me.signed_in ? 'oidc' : 'proxy', undefined, me);
  }

  /** Another tab signed in, renewed, or signed out. */
  private async hear(news: News): Promise<void> {
    if (this.how === 'token' && this.standing === 'in') return;
    if (news === 'out') { if (this.standing !== 'out') this.leave(); return; }
    try { await this.arrive(); } catch { /* what this tab has goes on as it is */ }
  }

  /** Takes the gateway's session away; hands back where to sign out at the provider. */
  private async forget(): Promise<string | undefined> {
    const { location: at } = await this.api.signOut();
    prefer({ issuer: '' });
    return at ?? undefined;
  }

  private leave(): void {
    this.token = this.me = undefined;
    this.end = Infinity;
    prefer({ issuer: '' });
    this.stand('out');
  }

  private async ask(token: string): Promise<Me> {
    try { return await this.api.me(`Bearer ${token}`); } catch (error) {
      if (error instanceof Refused && error.status === 0) throw new Error(text.signIn.unreachable);
      if (error instanceof Refused) throw new Error(text.signIn.rejected(error.message));
      throw error;
    }
  }

  private become(how: How, token: string | undefined, me: Me): void {
    const end = me.expires ? Date.parse(me.expires) : Infinity;
    if (how === 'oidc' && preferences.issuer !== me.issuer) prefer({ issuer: me.issuer });
    // The same session as before: its beginning and what was found out about it stay.
    if (this.standing !== 'in' || end !== this.end || how !== this.how) {
      this.since = now();
      this.renewalFailedAt = -Infinity;
    }
    this.how = how;
    this.token = token;
    this.me = me;
    this.end = end;
    this.behindProxy = how === 'proxy';
    this.stand('in');
  }

  /** A request came back with 401: is the session over? */
  private async doubt(): Promise<void> {
    if (this.standing !== 'in' || this.doubting) return;
    this.doubting = true;
    try { await this.api.me(); } catch (error) {
      if (isOver(error) && !(await this.renew())) this.stand('ended');
    } finally { this.doubting = false; }
  }

  private stand(standing: Standing): void {
    this.standing = standing;
    this.dispatchEvent(new Event('change'));
  }
}

/** The gateway or a proxy says that nobody is signed in. */
const isOver = (error: unknown): boolean => error instanceof Refused && error.status === 401;

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
