# SPDX-License-Identifier: MIT
"""The rooms stand on each other (DESIGN §1): a file includes headers of its own room and of lower floors only.

Files directly in src/ (mistate.h, mistate.c) belong to no floor: they hold the one structure that is made of every room's
state, so they may include every room, and every room may include them. port/ may include include/, port/ and system
headers; port/port.h itself only include/nt/, port/ and freestanding headers. include/ knows only itself. src/heap/ stands
beside the tower: rtl and its own files.
Usage: check_include_order.py ROOT
"""
import sys

import house


def room_of(file):
    """The room of a file below src/, "" for a file directly in src/, None for a file elsewhere."""
    parts = file.split("/")
    if parts[0] != "src":
        return None
    return parts[1] if len(parts) > 2 else ""


def check_room_file(root, file, violations):
    room = room_of(file)
    if room != "heap" and room != "" and room not in house.FLOORS:
        violations.append(f"{file}:1: src/{room}/ is not a room of DESIGN §1")
        return
    for number, angled, name in house.includes(root, file):
        target = house.resolve(root, file, name, angled=angled)
        if target is None:
            # A header that does not exist yet still says which room it belongs to ("nt/..." may be include/nt).
            first = name.split("/")[0]
            if (first in house.FLOORS and first != "nt") or first == "heap":
                target = "src/" + name
            else:
                continue
        if target.split("/")[0] in ("tools", "winapi", "tests", "bench", "examples"):
            violations.append(f"{file}:{number}: src/ includes {target}, which stands above it")
            continue
        other = room_of(target)
        if other in (None, "", room) or room == "":
            continue
        if room == "heap":
            if other != "rtl":
                violations.append(f"{file}:{number}: heap includes {name}; it may include only rtl and its own files")
        elif other == "heap":
            violations.append(f"{file}:{number}: {room} includes {name}; heap stands beside the tower")
        elif other not in house.FLOORS:
            violations.append(f"{file}:{number}: {name}: {other} is not a room of DESIGN §1")
        elif house.FLOORS[other] > house.FLOORS[room]:
            violations.append(f"{file}:{number}: {room} (floor {house.FLOORS[room]}) includes {name} of {other} "
                              f"(floor {house.FLOORS[other]})")


def check_public_file(root, file, violations):
    for number, angled, name in house.includes(root, file):
        target = house.resolve(root, file, name, angled=angled)
        if target is not None and not target.startswith("include/"):
            violations.append(f"{file}:{number}: {target}: clients have include/ only")


def check_port_file(root, file, violations):
    for number, angled, name in house.includes(root, file):
        target = house.resolve(root, file, name, angled=angled)
        if target is None:
            if file == "port/port.h" and name not in house.FREESTANDING_HEADERS:
                violations.append(f"{file}:{number}: {name}: port.h includes only include/nt/, port/ and freestanding headers")
            continue
        if file == "port/port.h" and not target.startswith(("include/nt/", "port/")):
            violations.append(f"{file}:{number}: {target}: port.h includes only include/nt/, port/ and freestanding headers")
        elif not target.startswith(("include/", "port/")):
            violations.append(f"{file}:{number}: {target}: the port stands below the kernel and knows only include/ and port/")


def main():
    root = sys.argv[1]
    violations = []
    files = house.source_files(root, ["include", "src", "port"])
    for file in files:
        if file.startswith("src/"):
            check_room_file(root, file, violations)
        elif file.startswith("include/"):
            check_public_file(root, file, violations)
        else:
            check_port_file(root, file, violations)
    order = " < ".join(sorted(house.FLOORS, key=house.FLOORS.get))
    house.finish(violations, f"a room includes only itself and rooms below it: {order}", len(files))


main()
