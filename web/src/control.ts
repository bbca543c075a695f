// The panel by which a live run is controlled: it sends what is asked for to the page's server, with the token that is in
// the address which the server printed, and shows what became of it.

import { shortened } from "./format";

const TOKEN = "monitor_core control";
/** How many requests are shown. */
const MOST = 8;

/** What there is to say of a request whose answer a page did not wait for. */
const AFTER_RELOAD = "was asked for; the curves and the table of decisions show what became of it";

/** Something that was asked for, and what became of it. */
export interface Asked {
  what: string;
  state: "waiting" | "done" | "refused";
  answer: string;
}

/** What a server answers: done, refused (false) or not answered by the run yet (null), with a sentence. */
export function asAnswered(what: string, data: unknown): Asked {
  const { done, answer } = (data ?? {}) as { done?: unknown; answer?: unknown };
  if (typeof answer !== "string") return { what, state: "refused", answer: "the server cannot be reached" };
  return { what, state: done === true ? "done" : done === false ? "refused" : "waiting", answer };
}

/**
 * Take the token out of an address's fragment, which browsers send to no server, and keep it for the other pages of this
 * server; other ports of the machine cannot read it there, as they could a cookie.
 */
function takeToken(): string | null {
  if (document.documentElement.dataset.events === undefined) return null; // a report, which has no server
  const given = new URLSearchParams(location.hash.slice(1)).get("control");
  try {
    if (given !== null) {
      localStorage.setItem(TOKEN, given);
      history.replaceState(history.state, "", location.pathname + location.search);
    }
    return localStorage.getItem(TOKEN);
  } catch {
    return given; // nothing can be kept, as in a private window of some browsers
  }
}

/** The panel, if the page has one. */
export class Controls {
  private readonly token = takeToken();
  private readonly panel = document.getElementById("control");
  private readonly asked: Asked[] = history.state?.asked ?? [];
  private waiting = 0;

  constructor() {
    if (this.panel === null) return;
    for (const form of this.panel.querySelectorAll<HTMLFormElement>("form[data-verb]"))
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.ask(form.dataset.verb!, typedInto(form));
        form.reset();
      });
    const dialog = this.panel.querySelector("dialog")!;
    document.getElementById("stop")!.addEventListener("click", () => {
      dialog.returnValue = "";
      dialog.showModal();
    });
    dialog.addEventListener("close", () => {
      const form = dialog.querySelector("form")!;
      if (dialog.returnValue === "stop") this.ask("stop", typedInto(form));
      form.reset();
    });
    for (const each of this.asked) if (each.state === "waiting") each.answer = AFTER_RELOAD;
    this.show();
    this.refresh();
  }

  /** Show what the run is ready for now, as the page's own text says. */
  refresh(): void {
    if (this.panel === null) return;
    const state = this.panel.querySelector<HTMLElement>("[data-state]")?.dataset.state;
    const isReady = state === "listens" && this.token !== null;
    const fields = this.panel.querySelector("fieldset")!;
    this.panel.hidden = state === "ended" && this.asked.length === 0 && fields.hidden;
    if (isReady) fields.hidden = false;
    fields.disabled = !isReady;
    if (!isReady) this.panel.querySelector("dialog")!.close();
    document.getElementById("no-token")!.hidden = state !== "listens" || this.token !== null;
  }

  /** Whether a reload would take something from the reader: an answer that is waited for, or what is being typed. */
  isBusy(): boolean {
    const fields = this.panel?.querySelector("fieldset");
    if (fields?.disabled !== false) return false;
    const typed = [...this.panel!.querySelectorAll("input")].some((field) => field.value !== "");
    return this.waiting > 0 || typed || this.panel!.querySelector("dialog")!.open;
  }

  private async ask(verb: string, value: string | null): Promise<void> {
    const what = value === null ? verb : `${verb} ${value}`;
    const place: Asked = { what, state: "waiting", answer: "waits for the run" };
    this.asked.unshift(place);
    this.asked.splice(MOST);
    this.show();
    this.waiting++;
    const answer = await fetch(this.panel!.dataset.address!, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.token}` },
      body: JSON.stringify({ verb, value }),
    })
      .then((response) => response.json())
      .catch(() => null);
    Object.assign(place, asAnswered(what, answer));
    this.show();
    this.waiting--;
  }

  private show(): void {
    const lines = this.asked.map((each) => {
      const line = document.createElement("li");
      line.className = each.state;
      const what = document.createElement("b");
      what.textContent = shortened(each.what, 80);
      line.append(what, ` ${each.answer}`);
      return line;
    });
    document.getElementById("asked")!.replaceChildren(...lines);
    history.replaceState({ ...history.state, asked: this.asked }, ""); // so that a reload keeps them
  }
}

function typedInto(form: HTMLFormElement): string | null {
  return form.querySelector<HTMLInputElement>("input[name=value]")?.value.trim() || null;
}
