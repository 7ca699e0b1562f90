"""The HTML of a message without all that acts or fetches: tags and attributes of an allow-list.

The frame that shows it is closed already (``pages.message``). But a policy for content stops no
hint of a browser, such as ``<link rel=preconnect>``, which would tell the sender that the message
is read. So the unknown goes. The parser of Python's library takes the square of the time for
hostile HTML; this reader takes one pass.
"""

import html
import re
from collections.abc import Iterator

LONGEST = 256 * 1024
"""Characters of HTML that are read."""
_TAGS = frozenset(
    [
        "a",
        "abbr",
        "address",
        "article",
        "b",
        "blockquote",
        "br",
        "caption",
        "center",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "font",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "section",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "u",
        "ul",
    ]
)
_WITHOUT_CONTENT = frozenset(
    ["script", "style", "title", "iframe", "object", "noscript", "template", "svg", "math"]
)
"""Elements whose texts go too."""
_ATTRIBUTES = frozenset(
    [
        "abbr",
        "align",
        "bgcolor",
        "border",
        "cellpadding",
        "cellspacing",
        "color",
        "colspan",
        "dir",
        "face",
        "height",
        "lang",
        "rowspan",
        "size",
        "style",
        "title",
        "valign",
        "width",
        "alt",
    ]
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})((?:[\s/][^<>]*)?)>")
_ATTRIBUTE = re.compile(r"""(?<![\w-])([a-zA-Z-]{1,20})\s*=\s*("[^"]*"|'[^']*'|[^\s"'=]+)""")
_MOST_ATTRIBUTES = 4096
"""Characters of attributes of a tag that are read."""
_COMMENT, _COMMENT_END = "<!--", "-->"


def safe_html(source: str) -> str:
    """Return HTML with harmless elements only."""
    return "".join(_pieces(source[:LONGEST]))


def _pieces(source: str) -> Iterator[str]:
    at, dropped = 0, ""
    while at < len(source):
        if source[at] != "<":
            end = source.find("<", at)
            end = len(source) if end < 0 else end
            if not dropped:
                yield _text(source[at:end])
            at = end
        elif source.startswith("<!", at) or source.startswith("<?", at):
            at = _after_comment(source, at)
        elif (tag := _TAG.match(source, at)) is None:
            if not dropped:
                yield "&lt;"
            at += 1
        else:
            name, at = tag[2].lower(), tag.end()
            if dropped:
                dropped = "" if tag[1] and name == dropped else dropped
            elif name in _WITHOUT_CONTENT:
                dropped = "" if tag[1] else name
            elif name in _TAGS:
                yield f"</{name}>" if tag[1] else _opened(name, tag[3])


def _after_comment(source: str, at: int) -> int:
    end = _COMMENT_END if source.startswith(_COMMENT, at) else ">"
    found = source.find(end, at)
    return len(source) if found < 0 else found + len(end)


def _text(text: str) -> str:
    """Escape a text anew: its references become characters first, and only then markup."""
    return html.escape(_unescaped(text))


def _unescaped(text: str) -> str:
    """Replace the references of a text by their characters."""
    try:
        return html.unescape(text)
    except ValueError:  # a number of more digits than Python reads
        return text


def _opened(name: str, written: str) -> str:
    kept = dict[str, str]()
    for found in _ATTRIBUTE.finditer(written[:_MOST_ATTRIBUTES]):
        value = _unescaped(found[2].strip("\"'"))
        attribute = found[1].lower()
        if name == "a" and attribute == "href":  # the target, to be read and not to be followed
            kept["title"] = value
        elif attribute in _ATTRIBUTES or (
            name == "img" and attribute == "src" and value.lower().startswith("data:image/")
        ):
            kept.setdefault(attribute, value)
    words = "".join(f' {attribute}="{html.escape(value)}"' for attribute, value in kept.items())
    return f"<{name}{words}>"
