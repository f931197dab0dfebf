"""The sign-in page: one HTML file without a script, drawn in light and dark."""

from __future__ import annotations

from html import escape
from string import Template
from typing import Final

from console.accounts import ADMIN
from console.web.security import inline_hash

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b2733; --soft: #4d5b69; --ground: #f4f6f8;
  --card: #ffffff; --line: #8795a3; --key: #1d5f8a; --on-key: #ffffff; --bad: #a3281f;
  --bad-ground: #fdeceb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --soft: #aab6c2;
  --ground: #12181e; --card: #1b232b; --line: #6f7f8f; --key: #7cc0ec; --on-key: #0d1a24;
  --bad: #ffb4ab; --bad-ground: #3b1f1d; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; padding: 1rem; display: grid; place-items: center;
  background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 25rem; padding: 1.75rem; background: var(--card);
  border-radius: .75rem; box-shadow: 0 1px 6px rgb(0 0 0 / .18); }
h1 { margin: 0 0 1rem; font-size: 1.5rem; line-height: 1.2; }
label { display: block; margin-bottom: .35rem; font-weight: 600; }
input, button { width: 100%; padding: .7rem; font: inherit; border-radius: .5rem; }
input { margin-bottom: 1rem; color: inherit; background: transparent;
  border: 1px solid var(--line); }
button { border: 0; background: var(--key); color: var(--on-key); font-weight: 600;
  cursor: pointer; }
:focus-visible { outline: 3px solid var(--key); outline-offset: 2px; }
.problem { margin: 0 0 1rem; padding: .6rem .8rem; border-radius: .5rem; color: var(--bad);
  background: var(--bad-ground); }
.way { margin: 1.25rem 0 0; color: var(--soft); font-size: .95rem; }
"""

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Ops Console</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body>
<main>
<h1>Ops Console</h1>
$problem
$way_in
</main>
</body>
</html>
""")

_PROBLEM: Final = Template('<p class="problem" role="alert" id="problem">$message</p>')

_FORM: Final = Template("""<form method="post" action="login">
<input type="hidden" name="next" value="$next">
<input type="text" name="username" value="$admin" autocomplete="username" hidden>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
  required autofocus$described>
<button type="submit">Sign in</button>
</form>
<p class="way">No password at hand? Whoever runs the console sets it with OPS_ADMIN_PASSWORD
where the console is started.</p>""")

_LINK: Final = """<p>No password has been set yet. You sign in with a one-time link.</p>
<p class="way">Look at the terminal or container log where the console was started: the link
stands there. Each start writes a new one; it works once, within 24 hours.</p>"""

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src data:; base-uri 'none'; "
    f"form-action 'self'; frame-ancestors 'none'; style-src {inline_hash(_STYLE)}",
}


def login_page(target: str, message: str = "", *, has_password: bool) -> str:
    """The page; after signing in it leads to `target`."""
    described = ' aria-describedby="problem"' if message else ""
    form = _FORM.substitute(next=escape(target), admin=ADMIN, described=described)
    return _PAGE.substitute(
        style=_STYLE,
        problem=_PROBLEM.substitute(message=escape(message)) if message else "",
        way_in=form if has_password else _LINK,
    )
