"""The stand-in for the person at the sign-in page reads pages as a browser does."""

from __future__ import annotations

from lab.browser import Page

SIGN_IN = """
<html><head><title>Sign in</title><style>p { color: red }</style><script>var form = "<form>";</script></head>
<body><p>Device <b>laptop</b></p>
<form method="post" action="/device">
  <input type="hidden" name="csrf" value="a&amp;b"><input name="user_code" value="">
  <input type="password" name="password"><button name="answer" value="allow">Allow</button>
  <button name="answer" value="deny">Deny</button>
</form><form action="/other"><input name="stray" value="1"></form></body></html>
"""


def test_a_page_gives_its_first_form_with_hidden_values_and_the_first_button() -> None:
    page = Page(SIGN_IN)
    assert page.action == "/device"
    assert page.fields == {"csrf": "a&b", "user_code": "", "password": "", "answer": "allow"}


def test_a_page_gives_its_visible_text_only() -> None:
    assert " ".join(Page(SIGN_IN).text) == "Sign in Device laptop Allow Deny"


def test_a_page_without_a_form_asks_nothing() -> None:
    page = Page("<p>You can close this page.</p>")
    assert page.action is None and page.fields == {}
