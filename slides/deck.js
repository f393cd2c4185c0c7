"use strict";
(() => {
  const root = document.documentElement;
  const slides = [...document.querySelectorAll(".slide")];
  const [bar, back, on, number] = ["nav", "#back", "#on", "#number"].map(query => document.querySelector(query));
  let at = -1;

  // Twenty steps of a scale: a slide that is too tall, or a table that is too wide, is made smaller, but not so
  // small that the last row cannot read it. What is then still too tall is scrolled.
  const overflows = slide => slide.scrollHeight > slide.clientHeight + 1 ||
    [...slide.querySelectorAll("[role=region]")].some(box => box.scrollWidth > box.clientWidth + 1);
  const fit = (slide, least) => {
    slide.style.removeProperty("--scale");
    const smallest = Math.max(least, 16 / parseFloat(getComputedStyle(slide).fontSize));
    for (let step = 19; overflows(slide) && step / 20 >= smallest; step--) slide.style.setProperty("--scale", step / 20);
  };

  const show = wanted => {
    const next = Math.min(Math.max(wanted, 0), slides.length - 1);
    if (next === at) return;
    at = next;
    slides.forEach((slide, n) => { slide.hidden = n !== at; });
    number.textContent = `${at + 1} / ${slides.length}`;
    back.disabled = at === 0;
    on.disabled = at === slides.length - 1;
    fit(slides[at], 0.65);
    slides[at].scrollTop = 0;
    slides[at].focus({ preventScroll: true });
    if (location.hash !== `#${at + 1}`) location.replace(`#${at + 1}`);
  };
  const addressed = () => (parseInt(location.hash.slice(1), 10) || 1) - 1;

  const keys = {
    ArrowRight: () => at + 1, PageDown: () => at + 1, " ": () => at + 1, n: () => at + 1,
    ArrowLeft: () => at - 1, PageUp: () => at - 1, Backspace: () => at - 1, p: () => at - 1,
    Home: () => 0, End: () => slides.length - 1,
  };
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in keys)) return;
    const { target, key, shiftKey } = event;
    if (key === " " && target.closest("button, a")) return; // they are pressed with it
    if (key.startsWith("Arrow") && target.closest("[role=region]")?.scrollWidth > target.clientWidth) return;
    event.preventDefault();
    show(key === " " && shiftKey ? at - 1 : keys[key]());
  });
  back.addEventListener("click", () => show(at - 1));
  on.addEventListener("click", () => show(at + 1));
  addEventListener("hashchange", () => show(addressed()));
  addEventListener("resize", () => { if (!root.classList.contains("printing")) fit(slides[at], 0.65); });
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    slides.forEach(slide => fit(slide, 0.4));
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    slides.forEach(slide => slide.style.removeProperty("--scale"));
    fit(slides[at], 0.65);
  });

  root.classList.add("deck");
  bar.hidden = false;
  show(addressed());
})();
