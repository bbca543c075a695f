// Follows a run that trains: when its server says that something has changed, the page is read again, its texts are
// replaced, and its charts take their new columns.

/** Call a function with the page as it is now, whenever its server says that it has changed. */
export function follow(update: (page: Document) => Promise<void>): void {
  const address = document.documentElement.dataset.events;
  if (address === undefined) return;
  let isBusy = false;
  let isStale = false;
  const look = async () => {
    if (isBusy) {
      isStale = true;
      return;
    }
    isBusy = true;
    do {
      isStale = false;
      const answer = await fetch(location.pathname + location.search).catch(() => null);
      if (answer?.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        replaceParts(page);
        await update(page);
      } else if (answer?.status === 404) document.documentElement.dataset.gone = "yes";
    } while (isStale);
    isBusy = false;
  };
  const source = new EventSource(address);
  source.addEventListener("changed", look);
  let wasLost = false;
  source.addEventListener("error", () => {
    wasLost = true;
  });
  source.addEventListener("open", () => {
    if (wasLost) look();
    wasLost = false;
  });
}

/** Replace the texts and tables of this page by those of another version of it; what was chosen stays chosen. */
function replaceParts(page: Document): void {
  const chosen = new Set(
    [...document.querySelectorAll<HTMLInputElement>("input[name=run]:checked")].map((each) => each.value),
  );
  for (const part of document.querySelectorAll<HTMLElement>("[data-part]")) {
    const fresh = page.querySelector(`[data-part="${CSS.escape(part.dataset.part!)}"]`);
    if (fresh !== null && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
  }
  for (const field of document.querySelectorAll<HTMLInputElement>("input[name=run]"))
    field.checked = chosen.has(field.value);
}
