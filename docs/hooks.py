"""Pages that MkDocs generates: the API reference, the list of decisions, and the texts in the root of the repository.

The modules of the reference are those that docs/architecture.md describes, in its order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
#: Files outside docs/ that become pages.
TEXTS = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "emsync/models/small/MODEL_CARD.md": "model-card.md",
}


def modules() -> list[str]:
    """The modules with a heading in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    return [name for heading in headings for name in re.findall(r"`(emsync\.[\w.]+)`", heading)]


def decisions() -> list[Path]:
    """The decisions, in order."""
    return sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def title(path: Path) -> str:
    """The first heading of a Markdown file."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").strip()


def pages() -> dict[str, str]:
    """The generated pages by their place below docs/."""
    names = modules()
    found = {f"api/{name}.md": f"# {name}\n\n::: {name}\n" for name in names}
    rows = "".join(f"- [`{name}`]({name}.md): {summary(name)}\n" for name in names)
    found["api/index.md"] = (
        f"# Python API\n\n`import emsync` gives the parts that most programs need.\n\n::: emsync\n\n{rows}"
    )
    rows = "".join(f"- [{title(path)}]({path.name})\n" for path in decisions())
    found["decisions/index.md"] = f"# Decisions\n\nWhat was decided and why, with the measurements.\n\n{rows}"
    for source, place in TEXTS.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        found[place] = text.replace("](docs/", "](").replace("](emsync/models/small/MODEL_CARD.md", "](model-card.md")
    return found


def summary(name: str) -> str:
    """The first sentence of a module's docstring."""
    path = ROOT.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = re.match(r'"""(.*?)(?:\n\n|""")', path.read_text(encoding="utf-8"), re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the two sections of the navigation that are generated."""
    sections: dict[str, list[Any]] = {
        "Python API": [{"Overview": "api/index.md"}, *({name: f"api/{name}.md"} for name in modules())],
        "Decisions": [{"All": "decisions/index.md"}, *(f"decisions/{path.name}" for path in decisions())],
    }
    config.nav = _filled(config.nav, sections)
    listed = {*pages(), *re.findall(r"[\w/.-]+\.md", str(config.nav))}
    written = (path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md"))
    rest = sorted(set(written) - listed)
    if rest:  # a page that nobody has placed can be found all the same
        config.nav.append({"More": rest})
    return config


def _filled(nav: Any, sections: dict[str, list[Any]]) -> Any:
    if isinstance(nav, list):
        return [_filled(each, sections) for each in nav]
    if isinstance(nav, dict):
        return {name: sections[name] if name in sections else _filled(inside, sections) for name, inside in nav.items()}
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


class Lists(griffe.Extension):
    """Puts an empty line before lists in docstrings: Markdown needs it, and our docstrings leave it out."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change one docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^(?![ ]*- )(?![ ]*$)(.+)\n(?=- )", r"\1\n\n", obj.docstring.value, flags=re.M
            )
