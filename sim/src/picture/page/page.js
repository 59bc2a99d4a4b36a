"use strict";
(() => {
  const root = document.documentElement;
  const detail = document.getElementById("detail");

  // Light or dark: the reader's system decides, then the button, then `#dark` or `#light` in the address.
  const wanted = location.hash.slice(1);
  if (wanted === "dark" || wanted === "light") root.dataset.theme = wanted;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = getComputedStyle(root).colorScheme === "dark";
    root.dataset.theme = dark ? "light" : "dark";
  });

  const copy = document.getElementById("copy");
  copy.addEventListener("click", () => {
    const text = document.getElementById("replay").textContent;
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => { copy.textContent = "copied"; }, () => {});
  });

  // What is under the pointer or has the focus, in words.
  const tell = event => {
    const mark = event.target.closest && event.target.closest("[data-d]");
    if (!mark) return;
    detail.replaceChildren(...mark.dataset.d.split("\n").map(line => {
      const p = document.createElement("p");
      p.textContent = line;
      return p;
    }));
  };
  for (const kind of ["mouseover", "focusin", "click"]) document.addEventListener(kind, tell);

  // Zoom: units of the lanes become wider or narrower, around what is in the middle.
  const zoom = (scroll, how) => {
    const lanes = scroll.querySelector(".lanes");
    const name = scroll.querySelector(".name").offsetWidth;
    const units = Number(lanes.style.getPropertyValue("--w"));
    const now = parseFloat(getComputedStyle(scroll).getPropertyValue("--u"));
    const fit = (scroll.clientWidth - name - 80) / units;
    const next = how === "fit" ? fit : now * (how === "in" ? 1.35 : 1 / 1.35);
    const middle = (scroll.scrollLeft + scroll.clientWidth / 2 - name) / now;
    const u = Math.min(Math.max(next, 1.5), 60);
    scroll.style.setProperty("--u", u + "px");
    scroll.scrollLeft = middle * u + name - scroll.clientWidth / 2;
  };
  document.addEventListener("click", event => {
    const button = event.target.closest("[data-zoom]");
    if (button) zoom(button.closest("details").querySelector(".scroll"), button.dataset.zoom);
  });

  // Arrow keys lead from mark to mark in the order of time.
  const marks = scroll => [...scroll.querySelectorAll("button[data-d], a[data-d]")]
    .map(mark => [Number(mark.style.getPropertyValue("--x")), mark])
    .sort((a, b) => a[0] - b[0]).map(pair => pair[1]);
  document.addEventListener("keydown", event => {
    const scroll = event.target.closest && event.target.closest(".scroll");
    if (!scroll || event.ctrlKey || event.metaKey || event.altKey) return;
    const how = { "+": "in", "=": "in", "-": "out", "0": "fit" }[event.key];
    if (how) { zoom(scroll, how); event.preventDefault(); return; }
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const all = marks(scroll);
    const at = all.indexOf(document.activeElement);
    const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest", inline: "center" }); }
    event.preventDefault();
  });

  // A link to an event opens the life that it is in and brings it to the middle.
  const show = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let up = target; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
    const scroll = target.closest(".scroll");
    if (scroll) {
      scroll.scrollIntoView({ block: "center" });
      scroll.scrollLeft = target.offsetLeft - scroll.clientWidth / 2;
    } else {
      target.scrollIntoView({ block: "start" });
    }
    if (target.dataset.d) tell({ target });
  };
  addEventListener("hashchange", show);

  // Each open life begins at the moment that matters in it; short ones fill the width.
  const settle = scroll => {
    const units = Number(scroll.querySelector(".lanes").style.getPropertyValue("--w"));
    const room = scroll.clientWidth - scroll.querySelector(".name").offsetWidth - 80;
    if (units * 11 < room) scroll.style.setProperty("--u", Math.min(room / units, 22) + "px");
    const moment = scroll.querySelector(".moment.fact") || scroll.querySelector(".moment.cause, .cut.aside") || scroll.querySelector(".moment");
    if (moment) scroll.scrollLeft = moment.offsetLeft - scroll.clientWidth * 0.6;
  };
  for (const scroll of document.querySelectorAll("details[open] > .scroll")) settle(scroll);
  document.addEventListener("toggle", event => {
    const scroll = event.target.open && event.target.querySelector(":scope > .scroll");
    if (scroll && !scroll.dataset.settled) { scroll.dataset.settled = "1"; settle(scroll); }
  }, true);
  const fact = document.querySelector(".moment.fact");
  if (fact) {
    tell({ target: fact });
    const [mark, frame] = [fact.querySelector("span"), fact.closest(".scroll")].map(box => box.getBoundingClientRect());
    root.dataset.fact = mark.width > 0 && mark.left >= frame.left && mark.left < frame.right ? "in view" : "out of view";
  }
  show();
  root.dataset.ready = "1";
})();
