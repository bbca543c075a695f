// The search among the labels of an embedding: what matches is marked, the rest fades.

/** Listen to the page's search field, if it has one. */
export function listenToSearch(): void {
  const field = document.getElementById("search") as HTMLInputElement | null;
  const points = document.getElementById("points");
  const found = document.getElementById("found");
  if (field === null || points === null || found === null) return;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let count = 0;
    points.classList.toggle("searching", wanted !== "");
    for (const point of points.querySelectorAll<SVGElement>(".point")) {
      const matches = wanted !== "" && (point.dataset.label ?? "").toLowerCase().includes(wanted);
      point.classList.toggle("match", matches);
      if (matches) count++;
    }
    found.textContent = wanted === "" ? "" : `${count} found`;
  });
}
