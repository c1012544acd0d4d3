"""The direction of imports, held against one table.

Rule: reads the source and runs nothing of it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest
from tests.support.checkout import ROOT, name_of, syntax_of

#: folder -> what its files may import, beside the standard library.
ALLOWED = {
    "lib/assetstore": {"assetstore", "msgspec", "airflow", "fastapi", "sqlalchemy"},
    "daemon/assetstored": {"assetstore", "assetstored", "msgspec", "lmdb", "watchfiles"},
    "cli/assetstore_cli": {"assetstore", "assetstore_cli", "msgspec", "click"},
    # The Dag of the example lies beside what it imports, in Airflow's Dags folder.
    "examples": {"assetstore", "examples", "airflow", "orders_load"},
}

#: package -> the only places that import it. A name that ends with * stands for all that begin so.
HOMES = {
    "lmdb": ("daemon/assetstored/engine.py",),
    "watchfiles": ("daemon/assetstored/watcher.py",),
    "click": ("cli/assetstore_cli/*",),
    "airflow": ("lib/assetstore/airflow/*", "examples/orders_dag.py"),
    "fastapi": ("lib/assetstore/airflow/answers.py",),
    "sqlalchemy": ("lib/assetstore/airflow/*",),
}

#: A worker that does not use the async client does not pay for asyncio either.
ASYNC_IN_LIB = ("lib/assetstore/async*",)

#: Where an import may stand inside a function: the guards for a missing extra.
GUARDS = {"daemon/assetstored/__main__.py", "cli/assetstore_cli/__main__.py"}


class Import(NamedTuple):
    file: str
    line: int
    module: str
    level: int
    in_function: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {'.' * self.level}{self.module}"


def imports_of(file: str, tree: ast.Module) -> Iterator[Import]:
    """Every import statement of a file, with where it stands."""

    def walk(node: ast.AST, in_function: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Import(names=names):
                    for name in names:
                        yield Import(file, child.lineno, name.name, 0, in_function)
                case ast.ImportFrom(module=module, level=level):
                    yield Import(file, child.lineno, module or "", level, in_function)
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, in_function or inner)

    return walk(tree, False)


@cache
def all_imports(folder: str) -> list[Import]:
    found = [
        each
        for path in sorted((ROOT / folder).rglob("*.py"))
        for each in imports_of(name_of(path), syntax_of(path))
    ]
    assert found, f"{folder} holds no imports at all: the table of this test is out of date"
    return found


def is_home(file: str, home: str) -> bool:
    return file.startswith(home[:-1]) if home.endswith("*") else file == home


def outside_allowed(imports: list[Import], allowed: set[str]) -> list[str]:
    return [
        str(each)
        for each in imports
        if each.package not in allowed and each.package not in sys.stdlib_module_names
    ]


def outside_home(imports: list[Import], package: str, homes: tuple[str, ...]) -> list[str]:
    return [
        str(each)
        for each in imports
        if each.package == package
        and each.level == 0
        and not any(is_home(each.file, home) for home in homes)
    ]


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_layer_imports_only_what_the_table_allows(folder: str) -> None:
    assert outside_allowed(all_imports(folder), ALLOWED[folder]) == []


@pytest.mark.parametrize("package", HOMES)
def test_a_third_party_package_is_imported_in_its_places_only(package: str) -> None:
    for folder in ALLOWED:
        assert outside_home(all_imports(folder), package, HOMES[package]) == []


@pytest.mark.parametrize("package", HOMES)
def test_the_home_of_a_third_party_package_does_import_it(package: str) -> None:
    imports = [each for folder in ALLOWED for each in all_imports(folder)]

    assert [each for each in imports if each.package == package], f"nobody imports {package}"


def test_only_the_async_part_of_the_client_imports_asyncio() -> None:
    assert outside_home(all_imports("lib/assetstore"), "asyncio", ASYNC_IN_LIB) == []


def test_all_imports_are_absolute() -> None:
    # Of tests ruff says so; here it would take a second to read them.
    for folder in ALLOWED:
        assert [str(each) for each in all_imports(folder) if each.level] == []


def test_imports_stand_at_the_top_except_in_the_guards_for_a_missing_extra() -> None:
    for folder in ALLOWED:
        hidden = [str(each) for each in all_imports(folder) if each.in_function]
        assert [each for each in hidden if each.split(":")[0] not in GUARDS] == []


def test_the_three_source_folders_are_no_packages_themselves() -> None:
    assert not any((ROOT / name / "__init__.py").exists() for name in ("lib", "daemon", "cli"))


def test_the_table_would_notice_a_client_that_imports_the_daemon() -> None:
    source = "def f():\n    import assetstored.engine\n    import lmdb, os\nfrom . import wire\n"

    imports = list(imports_of("lib/assetstore/x.py", ast.parse(source)))

    assert outside_allowed(imports[:3], ALLOWED["lib/assetstore"]) == [
        "lib/assetstore/x.py:2 imports assetstored.engine",
        "lib/assetstore/x.py:3 imports lmdb",
    ]
    assert outside_home(imports, "lmdb", HOMES["lmdb"]) == ["lib/assetstore/x.py:3 imports lmdb"]
    assert [each.in_function for each in imports] == [True, True, True, False]
    assert [each.level for each in imports] == [0, 0, 0, 1]
