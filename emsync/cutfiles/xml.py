"""Reading XML safely, for the two dialects of editing programs."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

from emsync.errors import InputError, printable

Element = ET.Element

#: Nested deeper than any edit.
MAX_DEPTH = 100


def looks_like(text: str, root: str) -> bool:
    """Whether a text is XML whose first element, or document type, has this name."""
    head = re.sub(r"<\?.*?\?>|<!--.*?-->", "", text[:4000], flags=re.DOTALL).lstrip("\ufeff \t\r\n")
    return re.match(rf"<(?:!DOCTYPE\s+)?{root}\b", head, re.IGNORECASE) is not None


def parse(text: str) -> Element:
    """The root element. Raises `InputError` for what is no XML, declares entities, or is nested too deeply."""
    if "<!ENTITY" in text:
        raise InputError("the XML declares entities, which no editing program does; export it again")
    parser: Any = ET.XMLPullParser(events=("start", "end"))
    depth = 0
    root: Element | None = None
    try:
        for at in range(0, len(text), 1 << 16):
            parser.feed(text[at : at + (1 << 16)])
            for event, element in parser.read_events():
                root = element if root is None else root
                depth += 1 if event == "start" else -1
                if depth > MAX_DEPTH:
                    raise InputError("the XML is nested too deeply; export it again")
        parser.close()
    except ET.ParseError as error:
        raise InputError(f"this is not complete XML ({printable(str(error))}); export it again") from error
    if root is None:
        raise InputError("the XML holds nothing; export it again")
    return root


def text_of(element: Element, path: str) -> str:
    """The text of an inner element, stripped; empty where there is none."""
    return (element.findtext(path) or "").strip()
