// The chat: questions go out, answers come in as pieces of HTML that the server made.
import { $, call, copy, dressCode, events, post, tell, trouble, words } from "/page/base.mjs";

const chat = $("chat");
const turns = $("turns");
let conversation = chat.dataset.conversation;
/** the answer after which the next question is asked */
let leaf = chat.dataset.leaf === "" ? null : Number(chat.dataset.leaf);
let edited = null;
let running = null;

// ---- settings: those of the conversation, else those that were used last

const settings = () => [...document.querySelectorAll("[data-setting]")];
const remembered = () => {
  try {
    return JSON.parse(localStorage.getItem("settings") ?? "{}");
  } catch {
    return {};
  }
};
{
  const own = JSON.parse(chat.dataset.settings || "{}");
  const known = Object.keys(own).length ? own : remembered();
  for (const field of settings()) if (known[field.dataset.setting] != null) field.value = known[field.dataset.setting];
}
function chosenSettings() {
  const out = {};
  for (const field of settings()) if (Number.isFinite(field.valueAsNumber)) out[field.dataset.setting] = field.valueAsNumber;
  try {
    localStorage.setItem("settings", JSON.stringify(out));
  } catch {
    // a browser that keeps nothing
  }
  return out;
}

const chosenModels = () => [...new Set([$("first").value, $("second").value])].filter(Boolean);

// ---- asking

const atEnd = () => turns.scrollHeight - turns.scrollTop - turns.clientHeight < 120;
const toEnd = () => (turns.scrollTop = turns.scrollHeight);
const fragment = (html) => document.createRange().createContextualFragment(html);

function busy(now) {
  $("send").hidden = now;
  $("stop").hidden = !now;
}

function gauge(used, context) {
  $("gauge").value = used;
  $("gauge").max = context;
  $("gauge-text").textContent = `${used} / ${context}`;
}

/** Puts the turn that begins where it belongs; what followed an older branch goes. */
function place(begin) {
  $("hello")?.remove();
  if (begin.on) {
    turns.querySelector(`[data-answer="${begin.on}"]`).replaceWith(fragment(begin.turn));
    return;
  }
  const old = begin.replaces && turns.querySelector(`[data-question="${begin.replaces}"]`);
  if (old) {
    while (old.nextElementSibling) old.nextElementSibling.remove();
    old.remove();
  }
  turns.append(fragment(begin.turn));
}

function began(begin) {
  leaf = begin.leaf;
  place(begin);
  if (!conversation) {
    conversation = begin.conversation;
    history.replaceState(null, "", begin.location);
    document.title = `${begin.title} · Nurture`;
    $("title").textContent = begin.title;
    $("new-title").value = begin.title;
    $("of-conversation").hidden = false;
    $("as-md").href = `${begin.location}/export?as=md`;
    $("as-json").href = `${begin.location}/export?as=json`;
    $("system").readOnly = true;
    list();
  }
}

async function ask(body) {
  if (running) return;
  trouble();
  running = new AbortController();
  busy(true);
  tell(words.answers);
  let lanes = 0;
  try {
    const request = { ...body, settings: chosenSettings(), system: conversation ? "" : $("system").value };
    if (conversation) request.conversation = conversation;
    const response = await call("/page/ask", { method: "POST", body: JSON.stringify(request), signal: running.signal });
    for await (const { name, data } of events(response)) {
      const below = atEnd();
      if (name === "begin") {
        began(data);
        lanes = turns.querySelectorAll("[data-lane]").length;
        toEnd();
        continue;
      }
      const article = turns.querySelector(`[data-lane="${data.lane}"]`);
      if (name === "text") {
        if (data.closed) article.querySelector(".closed").append(fragment(data.closed));
        article.querySelector(".open").innerHTML = data.open;
      } else if (name === "end") {
        if (data.error) trouble(data.error);
        if (data.html) article.replaceWith(fragment(data.html));
        if (data.used && data.lane === 0) gauge(data.used, data.context);
        $("left-out").hidden = !data.left_out;
        $("left-out").textContent = words.left_out.replace("{n}", data.left_out);
        lanes -= 1;
      }
      dressCode(turns.lastElementChild);
      if (below) toEnd();
    }
    tell(words.answered);
  } catch (error) {
    if (error.name === "AbortError") tell(words.stopped);
    else trouble(error.message);
  }
  const cut = lanes > 0;
  running = null;
  busy(false);
  // what was stopped was written down as far as it came
  if (cut) await reread();
  $("question").focus({ preventScroll: true });
}

/** Takes the last turn anew from the server. */
async function reread() {
  await new Promise((done) => setTimeout(done, 250));
  const response = await call(`/page/c/${encodeURIComponent(conversation)}?before=${leaf}`).catch(() => null);
  if (!response) return;
  const part = fragment(await response.text());
  const last = [...part.querySelectorAll(".turn")].at(-1);
  const old = last && turns.querySelector(`[data-question="${last.dataset.question}"]`);
  if (!old) return;
  old.replaceWith(last);
  dressCode(turns);
}

function stop() {
  running?.abort();
}

function send(event) {
  event?.preventDefault();
  const text = $("question").value.trim();
  if (!text || running) return;
  const models = chosenModels();
  $("question").value = "";
  if (edited) ask({ text, edit: edited, models });
  else ask({ text, ...(leaf === null ? {} : { parent: leaf }), models });
  leaveEdit();
}

function leaveEdit() {
  edited = null;
  $("editing").hidden = true;
}

$("ask").addEventListener("submit", send);
$("stop").addEventListener("click", stop);
$("no-edit").addEventListener("click", () => {
  leaveEdit();
  $("question").value = "";
});
$("question").addEventListener("keydown", (event) => {
  // while an input method composes a word, Enter belongs to it
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (running) stop();
  else if (edited) leaveEdit();
  shut();
});

// ---- what can be done with a question or an answer

async function judge(button, answer, verdict, correction) {
  const pressed = button.getAttribute("aria-pressed") === "true";
  const said = pressed && !correction ? "none" : verdict;
  try {
    await post("/page/feedback", { conversation, message: Number(answer.dataset.answer), verdict: said, correction });
  } catch (error) {
    trouble(error.message);
    return;
  }
  for (const b of answer.querySelectorAll("[aria-pressed]")) b.setAttribute("aria-pressed", String(b === button && said !== "none"));
  tell(words.thanks);
}

const deeds = {
  edit(turn) {
    edited = Number(turn.dataset.question);
    $("question").value = turn.querySelector(".said").textContent;
    $("editing").hidden = false;
    $("question").focus();
  },
  "copy-question": (turn, _, button) => copy(button, turn.querySelector(".said").textContent),
  copy: (turn, answer, button) => copy(button, button.dataset.source),
  up: (turn, answer, button) => judge(button, answer, "up"),
  down: (turn, answer, button) => judge(button, answer, "down"),
  again: (turn, answer) => ask({ user: Number(turn.dataset.question), models: [answer.getAttribute("aria-label")] }),
  on: (turn, answer) => ask({ on: Number(answer.dataset.answer), models: [] }),
  async choose(turn, answer) {
    const response = await post(`/page/c/${encodeURIComponent(conversation)}`, { leaf: Number(answer.dataset.answer) });
    location.assign((await response.json()).location);
  },
  correct(turn, answer, button) {
    if (answer.querySelector(".correct")) return;
    const form = $("correct-form").content.cloneNode(true).firstElementChild;
    const area = form.querySelector("textarea");
    area.value = answer.querySelector('[data-do="copy"]').dataset.source;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      await judge(button, answer, "edited", area.value);
      form.remove();
      button.focus();
    });
    answer.append(form);
    area.focus();
  },
  "no-correct"(turn, answer) {
    answer.querySelector(".correct").remove();
    answer.querySelector('[data-do="correct"]').focus();
  },
};

turns.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  const deed = button && deeds[button.dataset.do];
  if (deed) {
    try {
      await deed(button.closest(".turn"), button.closest(".answer"), button);
    } catch (error) {
      trouble(error.message);
    }
  }
  if (button?.id === "earlier") earlier(button);
});

/** Puts the turns before the first one above it, without moving what is read. */
async function earlier(button) {
  button.disabled = true;
  try {
    const response = await call(`/page/c/${encodeURIComponent(conversation)}?before=${button.dataset.before}`);
    const part = fragment(await response.text());
    dressCode(part);
    const before = turns.scrollHeight - turns.scrollTop;
    button.closest(".more").replaceWith(part);
    turns.scrollTop = turns.scrollHeight - before;
    turns.focus({ preventScroll: true });
  } catch (error) {
    button.disabled = false;
    trouble(error.message);
  }
}

// ---- the history

async function list(after) {
  const query = new URLSearchParams({ q: $("q").value });
  if (after) query.set("after", after);
  try {
    const html = await (await call(`/page/history?${query}`)).text();
    if (!after) $("conversations").replaceChildren();
    $("conversations").append(fragment(html));
    current();
  } catch (error) {
    trouble(error.message);
  }
}

function current() {
  for (const a of $("conversations").querySelectorAll("a")) {
    if (a.dataset.id === conversation) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
}

let typing;
$("q").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(list, 250);
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  list();
});
$("conversations").addEventListener("click", (event) => {
  const button = event.target.closest("[data-more]");
  if (!button) return;
  button.parentElement.remove();
  list(button.dataset.more);
});

function shut() {
  const within = $("history").classList.contains("shown") && $("history").contains(document.activeElement);
  $("history").classList.remove("shown");
  $("drawer").setAttribute("aria-expanded", "false");
  // what had the focus is gone
  if (within) $("drawer").focus();
}
$("drawer").addEventListener("click", () => {
  const shown = $("history").classList.toggle("shown");
  $("drawer").setAttribute("aria-expanded", String(shown));
  if (shown) $("q").focus();
});
turns.addEventListener("pointerdown", shut);

$("to-rename").addEventListener("click", () => {
  $("rename").hidden = false;
  $("title").hidden = true;
  $("new-title").focus();
});
$("rename").addEventListener("submit", async (event) => {
  event.preventDefault();
  const title = $("new-title").value.trim();
  try {
    if (title) {
      await post(`/page/c/${encodeURIComponent(conversation)}`, { title });
      $("title").textContent = title;
      document.title = `${title} · Nurture`;
      list();
    }
    $("rename").hidden = true;
    $("title").hidden = false;
    $("to-rename").focus();
  } catch (error) {
    trouble(error.message);
  }
});
$("delete").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  if (!button.dataset.asked) {
    const before = button.textContent;
    button.dataset.asked = "1";
    button.textContent = words.sure;
    setTimeout(() => {
      button.textContent = before;
      delete button.dataset.asked;
    }, 4000);
    return;
  }
  try {
    await call(`/page/c/${encodeURIComponent(conversation)}`, { method: "DELETE" });
    location.assign("/");
  } catch (error) {
    trouble(error.message);
  }
});

current();
toEnd();
