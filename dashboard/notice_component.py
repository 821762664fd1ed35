"""The switch for the computer's own notices: the part of `dashboard.notices` that runs in the browser.

The browser keeps the choice for all tabs (localStorage) and asks for permission on the click, which is the
only moment at which browsers let a page ask. Titles and texts reach the notice as plain text.
"""

HTML = """
<label><input type="checkbox" role="switch"><span>Notify me on this computer when a run ends</span></label>
<p role="status"></p>
"""

CSS = """
label {display: flex; gap: .5rem; align-items: flex-start; cursor: pointer;
  font-size: .86rem; line-height: 1.35; color: var(--st-text-color); opacity: .8}
input {margin: .15rem 0 0; accent-color: var(--st-primary-color); flex: none}
p {margin: .25rem 0 0 1.4rem; font-size: .8rem; line-height: 1.35; color: var(--st-text-color); opacity: .8}
p:empty {display: none}
"""

JS = """
const CHOICE = "superft-notices", told = new Set();

const REFUSED = "This browser refuses: allow notifications for this address in its settings.";
const INSECURE = "Browsers allow this only on localhost or over https.";
const NONE = "This browser has no notifications.";
const ASKS = "The browser asks whether it may: answer its question.";
const UNSURE = "The browser did not allow it yet: switch it on again and answer its question.";
const FAILED = "This browser shows no notification from a page like this.";

const isOn = () => { try { return localStorage.getItem(CHOICE) === "on" } catch { return false } };
const keep = (on) => { try { localStorage.setItem(CHOICE, on ? "on" : "off") } catch { /* for now only */ } };

const hindrance = () => {
  if (!window.isSecureContext) return INSECURE;
  if (!("Notification" in window)) return NONE;
  return Notification.permission === "denied" ? REFUSED : "";
};

export default function({ data, parentElement }) {
  const box = parentElement.querySelector("input"), status = parentElement.querySelector("p");
  const show = (on, words) => { box.checked = on; status.textContent = words };

  box.onchange = async () => {
    if (!box.checked) { keep(false); return show(false, "") }
    let found = hindrance();
    if (!found && Notification.permission !== "granted") {
      show(false, ASKS);
      if (await Notification.requestPermission() !== "granted") found = hindrance() || UNSURE;
    }
    keep(!found);
    show(!found, found);
  };

  const found = isOn() ? hindrance() : "";
  const isGranted = isOn() && !found && Notification.permission === "granted";
  if (isGranted || found) show(isGranted, found);
  for (const one of data.told) {
    if (told.has(one.key)) continue;
    told.add(one.key);
    if (!isGranted) continue;
    try {
      new Notification(one.title, { body: one.text, tag: one.key });
    } catch { show(false, FAILED) }
  }
}
"""
