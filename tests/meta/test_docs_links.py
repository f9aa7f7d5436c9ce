"""Pages hang together: links resolve, anchors too, and every page can be reached from README.md."""

from __future__ import annotations

import re
from pathlib import Path

from tests.meta.repository import PACKAGES, ROOT, files

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ABSOLUTE = re.compile(r"(?<![\w.~/])/(?:home|Users|mnt|work|root)/")
SHAPE = (
    "At a glance",
    "Owns",
    "Avoids",
    "Entry points",
    "Invariants",
    "Flow",
    "Failure modes",
    "Triage",
    "Glossary",
)
TREE = re.compile(rf"`((?:{'|'.join(PACKAGES)}|tests|docs|deploy|bench)/[\w./-]*)`")


def _pages() -> list[Path]:
    return list(files(".md"))


def _links(page: Path) -> list[tuple[Path, str]]:
    text = CODE.sub("", page.read_text("utf-8"))
    return [
        ((page.parent / target).resolve() if target else page, anchor)
        for target, anchor in LINK.findall(text)
    ]


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    plain = (re.sub(r"[^\w\- ]", "", h.lower()) for h in HEADING.findall(text))
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_links_lead_to_files_and_headings() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target} #{anchor}"
        for page in _pages()
        for target, anchor in _links(page)
        if not target.exists()
        or (anchor and target.suffix == ".md" and anchor not in _anchors(target))
    ]
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    start = ROOT / "README.md"
    reached, stack = {start}, [start]
    while stack:
        for target, _ in _links(stack.pop()):
            linked = [target / "README.md", *target.glob("*.md")] if target.is_dir() else [target]
            for page in linked:
                if page.suffix == ".md" and page.is_file() and page not in reached:
                    reached.add(page)
                    stack.append(page)
    lost = [str(p.relative_to(ROOT)) for p in _pages() if p.resolve() not in reached]
    assert lost == []


def test_pages_name_no_machine() -> None:
    wrong = [
        f"{page.relative_to(ROOT)}: {match.group()}"
        for page in _pages()
        for match in ABSOLUTE.finditer(page.read_text("utf-8"))
    ]
    assert wrong == []


def test_every_package_has_its_page_in_the_shape() -> None:
    directory = ROOT / "docs" / "packages"
    assert {p.stem for p in directory.glob("*.md")} == set(PACKAGES)
    for page in directory.glob("*.md"):
        text = page.read_text("utf-8")
        assert text.startswith(f"# {page.stem}\n")
        assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == SHAPE, page.name


def test_paths_that_pages_name_exist() -> None:
    missing = [
        f"{page.relative_to(ROOT)}: {path}"
        for page in _pages()
        for path in TREE.findall(page.read_text("utf-8"))
        if not (ROOT / path).exists()
    ]
    assert missing == []
