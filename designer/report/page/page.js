// Draw the charts of the page, and the curve of the trial that the reader chooses.
// Vega interprets its expressions (ast: true), so the policy need not allow code evaluation.
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
    for (const part of place.children) part.setAttribute("aria-hidden", "true"); // the place itself has a label
    return [name, view];
  });

  const linkTrials = (views) => {
    const select = document.getElementById("trial");
    const curveView = views.get("trial-curve");
    const trialsView = views.get("trials");
    if (!select || !curveView || !trialsView) return;
    const place = document.getElementById("chart-trial-curve");
    const figures = document.getElementById("trial-figures");
    const show = (trial) => {
      const curve = page.curves.find((candidate) => candidate.trial === trial);
      figures.textContent = curve
        ? curve.figures
        : `The curve of trial ${trial} was not kept; only the best trials have one.`;
      if (curve) select.value = String(trial);
      trialsView.signal("chosen", trial).runAsync();
      place.style.visibility = curve ? "visible" : "hidden";
      if (curve) curveView.data("trial_curve", curve.points).runAsync();
    };
    select.addEventListener("change", () => show(Number(select.value)));
    trialsView.addEventListener("click", (_event, item) => {
      const trial = item && item.datum && item.datum.trial;
      if (typeof trial === "number") show(trial);
    });
    show(Number(select.value));
  };

  Promise.all(drawn).then(
    (named) => {
      linkTrials(new Map(named));
      document.documentElement.dataset.drawn = String(named.length);
    },
    (error) => {
      document.documentElement.dataset.failed = String(error);
      console.error(error);
    },
  );
})();
