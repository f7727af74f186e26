# gdb and machines of ntmm: page faults of NT memory are signals that belong to the program, not to the debugger; and views of
# the memory manager's structures. They read memory only (through the direct map), so they work on a stopped program
# wherever its threads are, and on core files.   Use: gdb -x scripts/ntmm.gdb PROGRAM   (or the .gdbinit of this folder)
#
#   vm                    memory and paging files
#   process               all processes
#   vad [PID]             the address space of a process; default: the current thread's, else the first
#   pte ADDRESS [PID]     the entries that translate an address
#   pfn FRAME             the descriptor of a page frame
handle SIGSEGV nostop noprint pass
handle SIGBUS nostop noprint pass
# SIGRTMIN+3: the time slice of an address space is over
handle SIG37 nostop noprint pass
handle SIG38 nostop noprint pass
set print thread-events off

python
import gdb

LOCATIONS = ["Zeroed", "Free", "Standby", "Modified", "ModifiedNoWrite", "Bad", "ActiveAndValid", "Transition"]
PROTECTIONS = ["NOACCESS", "READONLY", "EXECUTE", "EXECUTE_READ", "READWRITE", "WRITECOPY", "EXECUTE_READWRITE",
               "EXECUTE_WRITECOPY"]
LEVELS = ["PTE", "PDE", "PPE", "PXE"]


def number(expression):
    return int(gdb.parse_and_eval(expression))


def state(room):
    """A room's part of MiState, or None when no machine runs."""
    value = gdb.parse_and_eval("MiState." + room)
    return value.dereference() if int(value) != 0 else None


def direct_map(frame):
    """Where a frame is visible. The layout is a constant of the build, which the library exports for debuggers."""
    return number("NtmmDebuggerLayout.DirectMapBase") + (frame << 12)


def read64(address):
    return int.from_bytes(gdb.selected_inferior().read_memory(address, 8).tobytes(), "little")


def list_of(head, type_name, field):
    """The structures on a LIST_ENTRY."""
    pointer = gdb.lookup_type(type_name).pointer()
    offset = next(f.bitpos // 8 for f in gdb.lookup_type(type_name).strip_typedefs().fields() if f.name == field)
    entry = head["Flink"]
    while int(entry) != int(head.address):
        yield gdb.Value(int(entry) - offset).cast(pointer).dereference()
        entry = entry["Flink"]


def processes():
    space = state("Space")
    for process in list_of(space["ProcessList"], "EPROCESS", "ActiveProcessLinks"):
        if int(process.address) != int(space["InitialSystemProcess"]):
            yield process


def choose(arguments):
    """The process of a PID, of the current thread, or the first."""
    if arguments:
        wanted = number(arguments[0])
        for process in processes():
            if int(process["UniqueProcessId"]) == wanted:
                return process
        raise gdb.GdbError("there is no process %d" % wanted)
    try:
        thread = gdb.parse_and_eval("PortCurrentThread")
        if int(thread) != 0 and int(thread["Process"]) != 0:
            return thread["Process"].cast(gdb.lookup_type("EPROCESS").pointer()).dereference()
    except gdb.error:
        pass  # no thread, or a core file without thread-local storage
    for process in processes():
        return process
    raise gdb.GdbError("there is no process")


def protection(bits):
    if bits == 24:
        return "NOACCESS"
    if bits == 16:
        return "decommitted"
    return PROTECTIONS[bits & 7] + {0: "", 8: " NOCACHE", 16: " GUARD", 24: " WRITECOMBINE"}[bits & 24]


def describe(pte):
    if pte & 1:
        flags = "".join(letter if pte >> bit & 1 else "-" for letter, bit in
                        (("C", 9), ("L", 7), ("D", 6), ("A", 5), ("U", 2), ("W", 11)))
        return "pfn %-8x %s%sV  age %d" % (pte >> 12 & (1 << 40) - 1, flags, "-" if pte >> 63 else "E", pte >> 56 & 7)
    if pte == 0:
        return "zero: the VAD decides"
    if pte >> 10 & 1:
        return "prototype at 0x%x" % (pte >> 16)
    if pte >> 11 & 1:
        return "transition, pfn %x, %s" % (pte >> 12 & (1 << 40) - 1, protection(pte >> 5 & 31))
    if pte >> 32:
        return "in paging file %d at page %x, %s" % (pte >> 12 & 15, pte >> 32, protection(pte >> 5 & 31))
    return "demand zero, %s" % protection(pte >> 5 & 31)


class View(gdb.Command):
    """A view of a machine of ntmm."""

    def __init__(self, name, arguments, show):
        self.__doc__ = show.__doc__
        self.least, self.most, self.show = arguments[0], arguments[1], show
        super().__init__(name, gdb.COMMAND_DATA)

    def invoke(self, text, from_tty):
        arguments = gdb.string_to_argv(text)
        if not self.least <= len(arguments) <= self.most:
            raise gdb.GdbError(self.__doc__)
        try:
            running = state("Space") is not None
        except gdb.error as error:
            raise gdb.GdbError("this program is not built with ntmm and its debug information: %s" % error)
        if not running:
            raise gdb.GdbError("no machine is running")
        self.show(arguments)


def listed(physical, kind):
    """Zeroed (0) or free (1) frames: on the lists of all nodes and colours, and never used ones."""
    total = 0
    for node in range(int(physical["NodeCount"])):
        lists = physical["Nodes"][node]["Lists"][kind]
        total += int(physical["Nodes"][node]["Fresh"][kind])
        total += sum(int(lists[colour]["Total"]) for colour in range(int(physical["Colours"])))
    return total


def queued(queue):
    parts = queue["Parts"]
    return sum(int(parts[part]["Total"]) for part in range(parts.type.range()[1] + 1))


def show_vm(arguments):
    """vm: memory and paging files."""
    physical, paging = state("Physical"), state("Paging")
    standby = [queued(physical["StandbyList"][priority]) for priority in range(8)]
    for name, pages in (("Physical Memory", physical["NumberOfPages"]),
                        ("Zeroed (list, fresh)", listed(physical, 0)),
                        ("Free (list, fresh)", listed(physical, 1)),
                        ("Standby", sum(standby)), ("Modified", queued(physical["ModifiedList"])),
                        ("Committed", physical["CommittedPages"]), ("Peak Commitment", physical["PeakCommitment"]),
                        ("Commit Limit", physical["CommitLimit"])):
        print("%-22s %10d (%12d Kb)" % (name, int(pages), int(pages) * 4))
    for index in range(int(paging["FileCount"])):
        current = paging["Files"][index].dereference()
        print("Paging file %d: %d Kb of at most %d Kb, free %d Kb" % (index, int(current["Size"]) * 4,
              int(current["MaximumSize"]) * 4, int(current["FreeSpace"]) * 4))


def show_process(arguments):
    """process: all processes."""
    for process in processes():
        space = process["Space"]
        print("PROCESS 0x%x  Cid: %d  Image: %s  Vads %d  CommitCharge %d  DirBase %x" % (
            int(process.address), int(process["UniqueProcessId"]), process["ImageFileName"].string(),
            int(space["VadCount"]), int(space["CommitCharge"]), int(space["TopLevel"]) << 12))


def vads(node):
    """In address order, without recursion through gdb values that may be damaged: at most 64 levels."""
    def walk(current, depth):
        if int(current) == 0 or depth > 64:
            return
        yield from walk(current["Left"], depth + 1)
        yield current.cast(gdb.lookup_type("MMVAD").pointer()).dereference(), depth
        yield from walk(current["Right"], depth + 1)
    yield from walk(node, 0)


def show_vad(arguments):
    """vad [PID]: the address space of a process."""
    process = choose(arguments)
    print("VAD             Level  Start         End             Commit")
    count = 0
    for vad, depth in vads(process["Space"]["VadRoot"]["Root"]):
        flags = vad["u"]
        count += 1
        print("0x%x %2d  %12x  %12x  %8d %s%s %s" % (int(vad.address), depth, int(vad["StartingVpn"]), int(vad["EndingVpn"]),
              int(vad["CommitCharge"]), "Private" if int(flags["PrivateMemory"]) else "Mapped",
              " Stack" if int(flags["Stack"]) else "", protection(int(flags["Protection"]))))
    print("Total VADs: %d" % count)


def show_pte(arguments):
    """pte ADDRESS [PID]: the entries that translate an address."""
    address = number(arguments[0]) & (1 << 64) - 1
    if number("NtmmDebuggerLayout.SystemStart") <= address <= number("NtmmDebuggerLayout.SystemEnd"):
        table = int(state("Translation")["SystemTopLevel"])
    else:
        table = int(choose(arguments[1:])["Space"]["TopLevel"])
    print("VA %016x" % address)
    for level in (3, 2, 1, 0):
        place = direct_map(table) + 8 * (address >> (12 + 9 * level) & 511)
        entry = read64(place)
        print("%s at 0x%x contains %016X  %s" % (LEVELS[level], place, entry, describe(entry)))
        if not entry & 1 or entry & 0x80 and level:
            return
        table = entry >> 12 & (1 << 40) - 1


def show_pfn(arguments):
    """pfn FRAME: the descriptor of a page frame."""
    frame = number(arguments[0])
    physical = state("Physical")
    if not 0 < frame <= int(physical["HighestPage"]):
        raise gdb.GdbError("%x is no page frame of this machine" % frame)
    pfn = physical["PfnDatabase"][frame]
    flags = pfn["e1"]
    print("PFN %08X at address 0x%x" % (frame, int(pfn.address)))
    print("    %s  priority %d  reference count %d  share count/flink %x" % (LOCATIONS[int(flags["PageLocation"])],
          int(flags["Priority"]), int(pfn["ReferenceCount"]), int(pfn["u1"]["ShareCount"])))
    names = [name for name in ("Modified", "ReadInProgress", "WriteInProgress", "PrototypePte", "PageTable", "ReadAhead",
                               "Deleted", "Kernel") if int(flags[name])]
    print("    pte address 0x%x  %s" % (int(pfn["PteAddress"]), " ".join(names)))
    original = int(pfn["OriginalPte"]["Long"])
    if original:
        print("    original pte %016x: %s" % (original, describe(original)))


View("vm", (0, 0), show_vm)
View("process", (0, 0), show_process)
View("vad", (0, 1), show_vad)
View("pte", (1, 2), show_pte)
View("pfn", (1, 1), show_pfn)
end
