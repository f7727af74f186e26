# gdb and programs on libntheap: views of malloc's heap. They read memory only, so they work on core files too.
#   gdb -x scripts/ntheap.gdb PROGRAM        (libntheap.so preloaded or linked, with its debug information)
#
#   heap                  the heaps, and malloc's blocks by size
#   heapblock ADDRESS     what lies there: which block, of which size, in use or free, whose
python
import gdb

PAGE, UNIT, NO_WORD = 4096, 64, 0xff
KINDS = ["nothing", "subsegment", "chunk", "whole pages", "free span", "guarded block", "freed guarded block"]


def value(expression):
    try:
        return gdb.parse_and_eval(expression)
    except gdb.error as error:
        raise gdb.GdbError("no libntheap with debug information in this program (%s)" % error)


def arena():
    found = value("RtlpProcess.Arena")
    if int(found["State"]) != 2:
        raise gdb.GdbError("nothing was allocated yet")
    return found


def descriptor(area, number):
    return (gdb.Value(int(area["Metadata"]) + UNIT * number)
            .cast(gdb.lookup_type("HEAP_DESCRIPTOR").pointer()).dereference())


def span_at(area, address):
    page = (address - int(area["Base"])) // PAGE
    number = int(area["PageMap"][page])
    return number, descriptor(area, number)


def owner(span):
    return int(span["Owner"])


def states(span):
    """The states of a subsegment's blocks: 1 is in use."""
    return gdb.selected_inferior().read_memory(int(span.address) + 48, int(span["Capacity"])).tobytes()


def busy(span):
    return states(span).count(1)


def spans(area, heap):
    """Every span of a heap, region by region."""
    region = int(heap["Regions"])
    while region != 0:
        found = descriptor(area, region)
        base, at = int(found["Base"]), 0
        while at < int(found["Committed"]) // PAGE - 1:
            number, span = span_at(area, base + at * PAGE)
            if number == 0 or int(span["Pages"]) == 0:
                print("    (lost or changing at 0x%x)" % (base + at * PAGE))
                break
            yield span
            at += int(span["Pages"])
        region = int(found["Next"])


def show(area, name, heap):
    sizes, pages, chunks = {}, [0, 0], [0, 0]
    for span in spans(area, heap):
        kind = KINDS[int(span["Kind"])]
        if kind == "subsegment":
            entry = sizes.setdefault(int(span["BlockSize"]), [0, 0, 0])
            entry[0] += 1
            entry[1] += busy(span)
            entry[2] += int(span["Capacity"])
        elif kind == "chunk":
            chunks[0] += 1
            chunks[1] += int(span["Committed"])
        elif kind in ("whole pages", "guarded block"):
            pages[0] += 1
            pages[1] += int(span["Pages"])
    dirty = sum(int(heap["Pools"][pool]["DirtyPages"]) for pool in range(2))
    print("HEAP 0x%x %s  reserved %d Kb  in use %d Kb  free and kept %d Kb" %
          (int(heap.address), name, sum(int(heap["Pools"][p]["Reserved"]) for p in range(2)) // 1024,
           int(heap["Counters"]["InUsePages"]) * 4, dirty * 4))
    for size in sorted(sizes):
        print("    size %6d: %8d busy of %8d blocks in %5d subsegments, %10d bytes" %
              (size, sizes[size][1], sizes[size][2], sizes[size][0], size * sizes[size][1]))
    if chunks[0]:
        print("    mixed sizes: %10d bytes busy in %5d chunks" % (chunks[1], chunks[0]))
    if pages[0]:
        print("    whole pages: %8d blocks, %d Kb" % (pages[0], pages[1] * 4))


class Heap(gdb.Command):
    """The heaps of the program, and the blocks by size."""

    def __init__(self):
        super().__init__("heap", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        area = arena()
        show(area, "malloc", value("RtlpMallocHeap"))
        heap = value("RtlpProcess.List")
        while int(heap) != 0:
            show(area, "private, flags %x" % int(heap["Flags"]), heap.dereference())
            heap = heap["NextHeap"]


class HeapBlock(gdb.Command):
    """heapblock ADDRESS: the block that an address lies in."""

    def __init__(self):
        super().__init__("heapblock", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        area, address = arena(), int(value(argument or "0"))
        if not 0 <= address - int(area["Base"]) < int(area["Limit"]):
            print("0x%x is no address of a heap" % address)
            return
        number, span = span_at(area, address)
        kind, offset = KINDS[int(span["Kind"])], address - int(span["Base"])
        if number == 0:
            print("0x%x: inside of a block of whole pages or of free pages, or a guard page" % address)
        elif kind == "subsegment":
            size = int(span["BlockSize"])
            index = offset // size
            state = "never used"
            if index < int(span["Exposed"]):
                state = "in use" if states(span)[index] == 1 else "free"
            print("0x%x: %d bytes into the block at 0x%x of %d bytes: %s; block %d of %d, slot 0x%x" %
                  (address, offset % size, address - offset % size, size, state, index, int(span["Capacity"]), owner(span)))
        else:
            print("0x%x: %d bytes into %s at 0x%x, %d pages" % (address, offset, kind, int(span["Base"]), int(span["Pages"])))


Heap()
HeapBlock()
end
