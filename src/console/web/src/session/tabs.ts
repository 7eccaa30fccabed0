// What the tabs of one browser tell each other: that somebody signed in, renewed the session, or signed out. One of them
// renews at a time, since a provider that rotates refresh tokens takes one that is used twice for stolen.

export type News = 'in' | 'out';

/** The other tabs. */
export class Tabs {
  private readonly channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('kvs-edge.session') : undefined;

  /** Calls back on what another tab tells. */
  listen(hear: (news: News) => void): void {
    this.channel?.addEventListener('message', (event: MessageEvent) => { if (event.data === 'in' || event.data === 'out') hear(event.data); });
  }

  tell(news: News): void { this.channel?.postMessage(news); }

  /** Runs `work` while no other tab runs its own, where browsers can say so. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    return 'locks' in navigator ? navigator.locks.request('kvs-edge.renew', work) as Promise<T> : work();
  }
}
