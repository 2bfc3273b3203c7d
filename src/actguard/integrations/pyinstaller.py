"""Where PyInstaller finds what it should know of actguard; it asks by the entry point `pyinstaller40`."""

from pathlib import Path


def hook_dirs() -> list[str]:
    """The folder of hooks. PyInstaller runs them while it bundles a program that imports actguard."""
    return [str(Path(__file__).with_name("pyinstaller_hooks"))]
