"""What PyInstaller cannot see: most of actguard is loaded by its name, when it is first used."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

# A program that has guards in it needs none of these. Where one imports them, PyInstaller sees that.
_APART = ("actguard.gateway", "actguard.cli", "actguard.integrations", "actguard.testing.plugin")

hiddenimports = collect_submodules("actguard", filter=lambda name: not name.startswith(_APART))
datas = [
    *collect_data_files("actguard", includes=["stores/lua/*.lua"]),
    *copy_metadata("genai-prices"),  # asks for its own version when it is imported
]
