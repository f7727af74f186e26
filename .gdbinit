# gdb reads this when it is started in this folder, if it may: add-auto-load-safe-path (docs/debugging.md).
source scripts/ntmm.gdb
