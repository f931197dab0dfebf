// Asks now and then whether the console answers and the person is still signed in. Streamlit's
// own words for both are for programmers; the server asks it not to say them (host-config).

const EVERY_MS = 3000;
const GONE = "The console does not answer. It was stopped, or the connection is interrupted. " +
  "This page goes on by itself as soon as the console answers again.";

// Streamlit calls the function below again whenever the script has run.
const watched = new WeakSet();

export default function ({ parentElement }) {
  if (watched.has(parentElement)) return;
  watched.add(parentElement);
  const box = parentElement.querySelector(".gone");
  let failures = 0;
  const timer = setInterval(async () => {
    if (document.hidden) return;
    failures = (await isReached()) ? 0 : failures + 1;
    const text = failures > 1 ? GONE : "";
    if (box.textContent !== text) box.textContent = text;
  }, EVERY_MS);
  return () => {
    clearInterval(timer);
    watched.delete(parentElement);
  };
}

async function isReached() {
  try {
    const answer = await fetch("/api/session", { cache: "no-store" });
    // The gate leads a page that is opened anew to the sign-in page, and back here afterwards.
    if (answer.status === 401) location.reload();
    return answer.status < 500;
  } catch {
    return false;
  }
}
