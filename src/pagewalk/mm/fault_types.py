"""What a fault handler is asked and what it answers.

Mirrors: include/linux/mm_types.h (enum fault_flag, enum vm_fault_reason) (6.18)
Differs: nothing.
"""

from typing import Final

FAULT_FLAG_WRITE: Final = 0x1
FAULT_FLAG_MKWRITE: Final = 0x2
FAULT_FLAG_USER: Final = 0x40
FAULT_FLAG_REMOTE: Final = 0x80
FAULT_FLAG_INSTRUCTION: Final = 0x100
FAULT_FLAG_UNSHARE: Final = 0x400

VM_FAULT_OOM: Final = 0x1
VM_FAULT_SIGBUS: Final = 0x2
VM_FAULT_MAJOR: Final = 0x4
VM_FAULT_SIGSEGV: Final = 0x40
VM_FAULT_NOPAGE: Final = 0x100
VM_FAULT_RETRY: Final = 0x400  # served after read-ahead was started: the fault begins anew
VM_FAULT_ERROR: Final = VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV
