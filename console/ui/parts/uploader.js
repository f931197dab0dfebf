// Sends a file in slices to /api/uploads. The browser remembers the upload's address, so
// that a reload of the page or a restart of the server only interrupts it.

const SLICE = 16 * 1024 * 1024;
const GIVE_UP_AFTER_MS = 5 * 60 * 1000;
const LONGEST_PAUSE_MS = 10_000;
const SAY_EVERY_MS = 1000;
const REMEMBERED = "ops-upload:";

// Streamlit calls the function below again whenever the script has run.
const uploaders = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let uploader = uploaders.get(parentElement);
  if (!uploader) {
    uploader = new Uploader(parentElement);
    uploaders.set(parentElement, uploader);
  }
  uploader.csrf = data.csrf;
  uploader.tell = (done) => setTriggerValue("uploaded", done);
  uploader.offerToGoOn();
  return () => {
    uploader.stop();
    uploaders.delete(parentElement);
  };
}

// An answer of the server that no second try will change; its message is for the person.
class Refusal extends Error {}

class Stopped extends Error {}

class Uploader {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.drop = find(".drop");
    this.input = find("input");
    this.run = find(".run");
    this.bar = find("progress");
    this.said = find(".said");
    this.discardButton = find(".discard");
    this.running = null; // an AbortController while a file is on its way
    this.input.onchange = () => this.start(this.input.files[0]);
    find(".stop").onclick = () => this.stop();
    this.discardButton.onclick = () => this.discard();
    this.acceptDrops();
  }

  acceptDrops() {
    const isOver = (over) => (event) => {
      event.preventDefault();
      this.drop.classList.toggle("over", over);
    };
    this.drop.ondragover = isOver(true);
    this.drop.ondragleave = isOver(false);
    this.drop.ondrop = (event) => {
      isOver(false)(event);
      this.start(event.dataTransfer.files[0]);
    };
  }

  say(text, isBad = false) {
    this.said.textContent = text;
    this.said.classList.toggle("bad", isBad);
  }

  stop() {
    if (this.running) this.running.abort();
  }

  async start(file) {
    if (!file || this.running) return;
    if (!file.name.toLowerCase().endsWith(".zip")) {
      this.say("This is not a ZIP file. Choose a backup that ends in .zip.", true);
      return;
    }
    this.running = new AbortController();
    this.input.disabled = true;
    this.run.hidden = false;
    this.discardButton.hidden = true;
    try {
      const id = await this.send(file, this.running.signal);
      this.say(`${file.name} has arrived.`);
      this.tell({ id, name: file.name, size: file.size });
    } catch (error) {
      this.explain(error, file);
    } finally {
      this.running = null;
      this.input.disabled = false;
      this.input.value = "";
      this.run.hidden = true;
    }
  }

  explain(error, file) {
    this.discardButton.hidden = !localStorage.getItem(keyOf(file));
    if (error instanceof Stopped) {
      this.say(`Stopped at ${percent(this.bar.value)}. Choose ${file.name} again to go on.`);
    } else if (error instanceof Refusal) {
      this.say(error.message, true);
    } else {
      this.say(
        "The console could not be reached. Choose the same file again to go on.", true);
    }
  }

  // The whole journey of one file; returns the upload's id.
  async send(file, signal) {
    const key = keyOf(file);
    let { url, offset } = await this.retrying(signal, () => this.open(file, key));
    const pace = new Pace(offset, file.size);
    this.show(pace, offset);
    while (offset < file.size) {
      const slice = file.slice(offset, offset + SLICE);
      const from = offset;
      offset = await this.retrying(
        signal,
        () => this.sendSlice(url, from, slice, signal, (sent) => this.show(pace, from + sent)),
        () => this.offsetOf(url),
      );
      this.show(pace, offset);
    }
    localStorage.removeItem(key);
    return url.split("/").pop();
  }

  // Goes on with a remembered upload, or begins one.
  async open(file, key) {
    const url = localStorage.getItem(key);
    if (url) {
      const offset = await this.offsetOf(url);
      if (offset !== null) return { url, offset };
      localStorage.removeItem(key);
    }
    const answer = await fetch("/api/uploads", {
      method: "POST",
      headers: {
        "X-Ops-Csrf": this.csrf,
        "Upload-Length": String(file.size),
        "Upload-Metadata": `filename ${inBase64(file.name)}`,
      },
    });
    if (answer.status !== 201) throw refusal(answer.status, await answer.text());
    const made = answer.headers.get("Location");
    localStorage.setItem(key, made);
    return { url: made, offset: 0 };
  }

  // How much of the upload is on the server; null if the server knows it no more.
  async offsetOf(url) {
    const answer = await fetch(url, { method: "HEAD" });
    if (answer.status === 404) return null;
    if (!answer.ok) throw refusal(answer.status, "");
    return Number(answer.headers.get("Upload-Offset"));
  }

  // XMLHttpRequest, because fetch does not tell how much of a slice has gone out.
  sendSlice(url, offset, slice, signal, onSent) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const abort = () => request.abort();
      signal.addEventListener("abort", abort);
      request.open("PATCH", url);
      request.setRequestHeader("X-Ops-Csrf", this.csrf);
      request.setRequestHeader("Upload-Offset", String(offset));
      request.setRequestHeader("Content-Type", "application/offset+octet-stream");
      request.upload.onprogress = (event) => onSent(event.loaded);
      request.onabort = () => reject(new Stopped());
      request.onerror = () => reject(new Error("no connection"));
      request.onload = () => {
        if (request.status === 204) resolve(Number(request.getResponseHeader("Upload-Offset")));
        else reject(refusal(request.status, request.responseText));
      };
      request.onloadend = () => signal.removeEventListener("abort", abort);
      request.send(slice);
    });
  }

  // Tries until it works, is refused or stopped, or nothing has worked for minutes. With
  // `look`, a failed try is followed by a look at what has arrived, which is an answer too.
  async retrying(signal, attempt, look = null) {
    const began = Date.now();
    for (let pause = 500; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      if (signal.aborted) throw new Stopped();
      try {
        return await attempt();
      } catch (error) {
        const isFinal = error instanceof Refusal || error instanceof Stopped;
        if (isFinal || Date.now() - began > GIVE_UP_AFTER_MS) throw error;
      }
      this.say("The connection is interrupted. Trying again…");
      await waited(pause, signal);
      const offset = look ? await look().catch(onlyRefusals) : undefined;
      if (offset === null) throw new Refusal("This upload is gone. Choose the file again.");
      if (offset !== undefined) return offset;
    }
  }

  show(pace, offset) {
    this.bar.value = pace.size ? offset / pace.size : 1;
    const text = pace.at(offset);
    if (text) this.say(text);
  }

  // After a reload the browser has lost the file, but not where its upload is.
  async offerToGoOn() {
    const key = rememberedKeys()[0];
    if (!key || this.running || this.said.textContent) return;
    const offset = await this.offsetOf(localStorage.getItem(key)).catch(() => undefined);
    if (offset === null) localStorage.removeItem(key);
    if (typeof offset !== "number" || this.running) return;
    const { name, size } = JSON.parse(key.slice(REMEMBERED.length));
    this.discardButton.hidden = false;
    this.say(`${percent(offset / size)} of ${name} has arrived. Choose it again to go on.`);
  }

  async discard() {
    this.discardButton.hidden = true;
    try {
      for (const key of rememberedKeys()) {
        await this.remove(localStorage.getItem(key));
        localStorage.removeItem(key);
      }
      this.say("What had arrived was discarded.");
    } catch {
      this.say("It could not be discarded now. It goes by itself after a day.", true);
    }
  }

  // The server may still be busy with the slice that was stopped.
  async remove(url) {
    for (let tries = 0; tries < 20; tries++) {
      const headers = { "X-Ops-Csrf": this.csrf };
      const answer = await fetch(url, { method: "DELETE", headers });
      if (answer.ok || answer.status === 404) return;
      if (answer.status !== 423) break;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    throw new Error("not removed");
  }
}

// How fast it goes, said about once a second.
class Pace {
  constructor(offset, size) {
    this.size = size;
    this.first = offset;
    this.began = Date.now();
    this.lastSaid = 0;
  }

  at(offset) {
    const now = Date.now();
    if (now - this.lastSaid < SAY_EVERY_MS) return null;
    this.lastSaid = now;
    const seconds = (now - this.began) / 1000;
    const speed = seconds > 0.5 ? (offset - this.first) / seconds : 0;
    const share = percent(this.size ? offset / this.size : 1);
    if (speed <= 0) return share;
    const left = duration((this.size - offset) / speed);
    return `${share} · ${(speed / 1e6).toFixed(1)} MB/s · about ${left} left`;
  }
}

const TEMPORARY = new Set([0, 408, 409, 423, 425, 429, 500, 502, 503, 504]);

function refusal(status, body) {
  if (TEMPORARY.has(status)) return new Error(`status ${status}`);
  let words = "";
  try {
    const { error, hint } = JSON.parse(body);
    words = [error, hint].filter(Boolean).join(" ");
  } catch {
    // not one of our answers: a proxy's page, or the empty answer to HEAD
  }
  return new Refusal(words || ownWords(status));
}

function ownWords(status) {
  if (status === 401) return "You are not signed in any more. Sign in, then choose the file again.";
  if (status === 413) return "The file is too large for a server between here and the console.";
  return `The upload was refused (status ${status}).`;
}

function onlyRefusals(error) {
  if (error instanceof Refusal) throw error;
}

function waited(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

function keyOf({ name, size, lastModified }) {
  return REMEMBERED + JSON.stringify({ name, size, lastModified });
}

function rememberedKeys() {
  return Object.keys(localStorage).filter((key) => key.startsWith(REMEMBERED));
}

function inBase64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

function percent(share) {
  return `${Math.floor(100 * share)} %`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
