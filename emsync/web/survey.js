
const letters = (count) => Array.from({ length: count }, (_, i) => String.fromCharCode(65 + i));
const COLUMNS = ["survey", "session", "rater", "order", "film", "metric", "method", "position", "rank", "heard_s"];

/** Tells two people apart who have the same number, or none. */
const session = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Answers so far: rows of COLUMNS. */
const rows = [];
let rater = null;
let screens = [];
let current = 0;
let saved = true;

/**
 * What rater number n (from 1) is shown: films in order, each with its methods in order of place.
 * Raters take the films in turn; each film goes through the orders of the design, so that places are balanced film by film.
 */
function plan(number) {
  const { films, films_each: each, orders } = data;
  const own = Array.from({ length: each }, (_, i) => (number - 1) * each + i).map((slot) => {
    const film = slot % films.length;
    const showing = Math.floor(slot / films.length);
    return { film: films[film], methods: orders[(showing + film) % orders.length] };
  });
  // Every other rater who sees these films sees them the other way round.
  return Math.floor(((number - 1) * each) / films.length) % 2 ? own.reverse() : own;
}

function showScreen() {
  const { film, methods } = screens[current];
  byId("progress").textContent = `Video ${current + 1} of ${screens.length}`;
  byId("clips").replaceChildren(...methods.map((method, i) => clip(film.clips[method], letters(methods.length)[i])));
  byId("questions").replaceChildren(...data.questions.map((each) => question(each, methods.length)));
  byId("next").textContent = current + 1 < screens.length ? "Next video" : "Finish";
  byId("lacking").textContent = "";
  window.scrollTo(0, 0);
}

function clip(medium, letter) {
  const player = make("video", {
    controls: true, playsinline: true, preload: "auto", controlslist: "nodownload", "aria-label": `Method ${letter}`,
    src: addressOf(medium), onplay: pauseOthers,
    onerror: () => player.after(make("p", { role: "alert" }, "This browser cannot play this version; please try another browser.")),
  });
  return make("figure", {}, make("figcaption", {}, `Method ${letter}`), player);
}

function pauseOthers(event) {
  for (const each of document.querySelectorAll("#clips video")) if (each !== event.target) each.pause();
}

function question({ metric, text, ranks }, count) {
  const head = make("tr", {}, make("td"), ...ranks.map((words) => make("th", { scope: "col" }, words)));
  const body = letters(count).map((letter, i) => make("tr", {}, make("th", { scope: "row" }, `Method ${letter}`),
    ...ranks.map((words, rank) => make("td", {}, make("label", {}, make("input", {
      type: "radio", name: `${metric}-${i}`, value: rank + 1, "aria-label": `Method ${letter}: ${words}`, onchange: swap,
    }))))));
  return make("section", { class: "card" }, make("fieldset", { "data-metric": metric }, make("legend", {}, text),
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)))));
}

/** Each rank goes to one method: whoever had the chosen one gets the rank that the chooser had, or none. */
function swap({ target }) {
  const set = target.closest("fieldset");
  const own = set.querySelectorAll(`input[name="${target.name}"]`);
  const before = target.closest("tr").dataset.rank;
  for (const each of set.querySelectorAll("input:checked")) {
    if (each.value !== target.value || each === target) continue;
    each.checked = false;
    const other = each.closest("tr");
    delete other.dataset.rank;
    if (before) {
      other.dataset.rank = before;
      other.querySelector(`input[value="${before}"]`).checked = true;
    }
  }
  target.closest("tr").dataset.rank = [...own].find((each) => each.checked).value;
}

function heard(player) {
  let total = 0;
  for (let i = 0; i < player.played.length; i++) total += player.played.end(i) - player.played.start(i);
  return total;
}

/** What is still to do on this screen, or "". */
function lacking() {
  const players = [...document.querySelectorAll("#clips video")];
  const silent = players.findIndex((each) => !each.error && heard(each) === 0);
  if (silent >= 0) return `Please play Method ${letters(players.length)[silent]} first.`;
  const open = [...document.querySelectorAll("fieldset")].filter(
    (set) => set.querySelectorAll("input:checked").length < players.length);
  return open.length ? `${open.length === 1 ? "One question is" : `${open.length} questions are`} not answered yet.` : "";
}

function keep() {
  const { film, methods } = screens[current];
  const players = [...document.querySelectorAll("#clips video")];
  for (const set of document.querySelectorAll("fieldset")) {
    methods.forEach((method, i) => {
      const rank = set.querySelector(`input[name="${set.dataset.metric}-${i}"]:checked`).value;
      rows.push([data.survey, session, rater, current + 1, film.code, set.dataset.metric, method, i + 1, rank,
        heard(players[i]).toFixed(1)]);
    });
  }
  saved = false;
}

const csv = () => [COLUMNS, ...rows].map((row) => row.join(",")).join("\n") + "\n";

function save() {
  const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  make("a", { href: address, download: `answers-${rater}-${session}.csv` }).click();
  saved = true;
}

function finish() {
  byId("form").hidden = true;
  byId("clips").replaceChildren();
  byId("end").hidden = false;
  byId("progress").textContent = "";
  byId("text").value = csv();
  byId("thanks").focus();
}

function begin() {
  // Without a number the order is drawn; with many raters that is nearly as balanced.
  const given = Number(byId("number").value);
  const drawn = 1 + (crypto.getRandomValues(new Uint32Array(1))[0] % 1000000);
  rater = Number.isInteger(given) && given >= 1 && given <= 1000000 ? given : drawn;
  screens = plan(rater);
  byId("intro").hidden = true;
  byId("form").hidden = false;
  saved = false;
  showScreen();
}

byId("explain").textContent = `You will see ${data.films_each === 1 ? "one video" : `${data.films_each} videos`}, each in `
  + `${data.orders[0].length} versions that differ in their music alone, and you rank the versions by ${data.questions.length} questions.`;
byId("number").value = /^#\d+$/.test(location.hash) ? location.hash.slice(1) : "";
byId("consent").addEventListener("change", (event) => { byId("start").disabled = !event.target.checked; });
byId("start").addEventListener("click", begin);
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("lacking").textContent = lacking();
  if (byId("lacking").textContent) return;
  keep();
  current += 1;
  if (current < screens.length) showScreen();
  else finish();
});
byId("save").addEventListener("click", save);
window.addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
