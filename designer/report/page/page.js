// Draws the charts of the page, and the curve of the trial that is chosen.
// Vega interprets its expressions (ast: true), so the page needs no right to evaluate code.
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("charts").textContent);
  const options = {
    ast: true,
    actions: false,
    renderer: "svg",
    tooltip: { theme: "designer" },
    loader: { load: () => Promise.reject(new Error("this page loads nothing")) },
  };
  const drawn = page.charts.map(async ({ name, spec }) => {
    const place = document.getElementById(`chart-${name}`);
    const { view } = await vegaEmbed(place, spec, options);
    for (const part of place.children) part.setAttribute("aria-hidden", "true"); // it has a label
    return [name, view];
  });

  const chosen = (views) => {
    const select = document.getElementById("trial");
    const beside = views.get("trial-curve");
    const all = views.get("trials");
    if (!select || !beside || !all) return;
    const place = document.getElementById("chart-trial-curve");
    const said = document.getElementById("trial-figures");
    const show = (trial) => {
      const curve = page.curves.find((one) => one.trial === trial);
      said.textContent = curve
        ? curve.figures
        : `The curve of trial ${trial} is not kept; those of the best are.`;
      if (curve) select.value = String(trial);
      all.signal("chosen", trial).runAsync();
      place.style.visibility = curve ? "visible" : "hidden";
      if (curve) beside.data("trial_curve", curve.taps).runAsync();
    };
    select.addEventListener("change", () => show(Number(select.value)));
    all.addEventListener("click", (_event, item) => {
      const trial = item && item.datum && item.datum.trial;
      if (typeof trial === "number") show(trial);
    });
    show(Number(select.value));
  };

  Promise.all(drawn).then(
    (named) => {
      chosen(new Map(named));
      document.documentElement.dataset.drawn = String(named.length);
    },
    (error) => {
      document.documentElement.dataset.failed = String(error);
      console.error(error);
    },
  );
})();
