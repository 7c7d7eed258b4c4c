// What all pages share: calls to the server, buttons that post, parts that keep themselves new, copying.
export const $ = (id) => document.getElementById(id);
export const words = JSON.parse($("words").textContent);

/** Says what went wrong; nothing clears it. */
export function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text ?? "";
}

/** Says something to those who cannot see it happen. */
export function tell(text) {
  $("status").textContent = text;
}

/** A request to our own server. A session that ended leads to the door. */
export async function call(path, options = {}) {
  const headers = { Accept: "application/json", ...(options.body ? { "Content-Type": "application/json" } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(words.lost);
  }
  if (response.ok) return response;
  if (response.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
  const told = await response.json().catch(() => null);
  throw Object.assign(new Error(told?.error?.message ?? `HTTP ${response.status}`), { field: told?.error?.param });
}

export const post = (path, body = {}) => call(path, { method: "POST", body: JSON.stringify(body) });

/** Reads server-sent events from a response that is coming in. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("data")) yield { name: field("event"), data: JSON.parse(field("data")) };
    }
  }
}

/** Puts a copy button on every block of code in a part of the page. */
export function dressCode(part) {
  for (const block of part.querySelectorAll(".text pre")) {
    if (block.parentElement.classList.contains("fence")) continue;
    const fence = document.createElement("div");
    fence.className = "fence";
    block.replaceWith(fence);
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "plain", textContent: words.copy });
    button.dataset.copyCode = "";
    fence.append(block, button);
  }
}

export async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // pages that do not come by TLS have no clipboard but this
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = button.textContent;
  button.textContent = words.copied;
  tell(words.copied);
  setTimeout(() => (button.textContent = before), 1500);
}

async function follow(response, form) {
  const told = await response.json();
  if (told.shown) {
    // shown this once, to be copied: the page stays
    const place = form.querySelector(".shown");
    place.hidden = false;
    place.textContent = told.shown;
    return;
  }
  if (told.location) location.assign(told.location);
  else location.reload();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("copyCode" in button.dataset) copy(button, button.parentElement.querySelector("pre").textContent);
  if (!button.dataset.post) return;
  // what cannot be undone is asked for twice
  if ("sure" in button.dataset && !button.dataset.asked) {
    const before = button.innerHTML;
    button.dataset.asked = "1";
    button.textContent = words.sure;
    setTimeout(() => {
      button.innerHTML = before;
      delete button.dataset.asked;
    }, 4000);
    return;
  }
  button.disabled = true;
  trouble();
  try {
    await follow(await post(button.dataset.post, JSON.parse(button.dataset.body ?? "{}")));
  } catch (error) {
    trouble(error.message);
    button.disabled = false;
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.post) return;
  event.preventDefault();
  const button = event.submitter;
  if (button) button.disabled = true;
  trouble();
  try {
    const values = Object.fromEntries(new FormData(form));
    await follow(await post(form.dataset.post, form.dataset.compose ? { values } : values), form);
  } catch (error) {
    complain(form, error);
  }
  if (button) button.disabled = false;
});

/** Shows an error, and the field that is to blame. */
function complain(form, error) {
  trouble(error.message);
  const field = error.field && form.elements.namedItem(error.field);
  form.querySelectorAll("[aria-invalid]").forEach((f) => f.removeAttribute("aria-invalid"));
  if (!field) return;
  field.setAttribute("aria-invalid", "true");
  field.closest("details")?.setAttribute("open", "");
  field.focus();
}

// the text of a recipe from its form
$("compose")?.addEventListener("click", async () => {
  const form = $("recipe");
  trouble();
  try {
    const values = Object.fromEntries(new FormData(form));
    const told = await (await post(form.dataset.compose, { values })).json();
    $("text").value = told.text;
    $("text").focus();
  } catch (error) {
    complain(form, error);
  }
});

/** Parts that the server makes anew while something goes on. */
function put(part, html) {
  // a reader who marks text or stands in it with the keyboard keeps it
  const chosen = getSelection();
  if (part.contains(document.activeElement) || (!chosen.isCollapsed && part.contains(chosen.anchorNode))) return false;
  if (part.dataset.seen !== html) part.innerHTML = html;
  part.dataset.seen = html;
  const state = part.querySelector("[data-state]")?.dataset.state;
  if (state) document.querySelectorAll("[data-when]").forEach((b) => (b.hidden = !b.dataset.when.split(" ").includes(state)));
  return true;
}

for (const part of document.querySelectorAll("[data-poll]")) {
  setInterval(async () => {
    if (document.hidden) return;
    try {
      put(part, await (await call(part.dataset.poll)).text());
    } catch {
      // the next look may succeed
    }
  }, 3000);
}

for (const part of document.querySelectorAll("[data-events]")) {
  let late;
  const source = new EventSource(part.dataset.events);
  source.addEventListener("html", (event) => {
    late = JSON.parse(event.data);
    if (put(part, late)) late = undefined;
  });
  setInterval(() => {
    if (late && put(part, late)) late = undefined;
  }, 1000);
}

for (const part of document.querySelectorAll("[data-fetch]")) {
  call(part.dataset.fetch)
    .then(async (response) => (part.innerHTML = await response.text()))
    .catch((error) => {
      const line = document.createElement("p");
      line.className = "bad";
      line.textContent = error.message;
      part.replaceChildren(line);
    });
}

// a report is as high as what it says
for (const frame of document.querySelectorAll("iframe.report")) {
  frame.addEventListener("load", () => {
    const high = frame.contentDocument?.documentElement.scrollHeight;
    if (high) frame.height = high + 20;
    frame.classList.toggle("whole", Boolean(high));
  });
}

dressCode(document);
