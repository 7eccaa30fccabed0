// Starts the page: who is here, which view the address names, and what is shown when neither can be told.

import './style/base.css';
import './style/wall.css';
import './style/camera.css';
import { readAddress } from './address';
import { cameraView } from './camera/camera';
import { h, type View } from './dom';
import { loadPlayer } from './play/attach';
import { apply } from './preferences';
import { warning } from './session/badge';
import { readReturn } from './session/single-sign-on';
import { Session, messageOf } from './session/session';
import { signInDialog, signInPage } from './session/sign-in';
import { shell, type Shell } from './shell';
import { text } from './text';
import { wallView } from './wall/wall';

const app = document.getElementById('app') as HTMLElement;

class Page {
  private readonly session = new Session();
  private frame: Shell | undefined;
  private view: View | undefined;
  private shownFor: string | undefined;

  async start(): Promise<void> {
    apply();
    app.replaceChildren(h('p', { class: 'starting', role: 'status' }, text.signIn.checking));
    let problem: string | undefined;
    try { problem = await this.session.start(); } catch (error) {
      return this.unreachable(messageOf(error));
    }
    this.session.addEventListener('change', () => this.settle());
    addEventListener('hashchange', () => this.route());
    setInterval(() => this.session.tick(), 1000);
    this.settle(problem);
  }

  /** Puts up what fits the session's standing. */
  private settle(problem?: string): void {
    const { session } = this;
    if (session.standing === 'out') {
      this.view?.close();
      this.frame = this.shownFor = undefined;
      this.view = signInPage(session, problem);
      app.replaceChildren(this.view.root);
      document.title = text.brand;
    } else if (session.standing === 'ended') {
      signInDialog(session, true);
    } else if (session.standing === 'in' && (!this.frame || this.shownFor !== session.me?.subject)) {
      void loadPlayer().catch(() => undefined);
      const ask = () => signInDialog(session, session.standing === 'ended');
      this.shownFor = session.me?.subject;
      this.frame = shell(session, ask);
      app.replaceChildren(warning(session, ask), this.frame.root);
      this.route();
    }
  }

  private route(): void {
    if (!this.frame) return;
    const address = readAddress(location.hash);
    this.view?.close();
    const view = address.view === 'wall' ? wallView(this.session, this.frame, address) : cameraView(this.session, this.frame, address);
    this.view = view;
    this.frame.main.replaceChildren(view.root);
  }

  private unreachable(why: string): void {
    const again = h('button', { type: 'button', class: 'button primary', on: { click: () => void this.start() } }, text.wall.retry);
    app.replaceChildren(h('main', { class: 'sign-in' }, h('div', { class: 'sign-in-card' }, h('h1', {}, text.signIn.unreachable), h('p', { class: 'quiet' }, why), again)));
    setTimeout(() => { if (again.isConnected) void this.start(); }, 5000);
  }
}

// In the hidden frame that renews a session the page only passes on what the gateway said.
if (window.parent !== window && readReturn(location.search)) window.parent.postMessage(location.search, location.origin);
else void new Page().start();
