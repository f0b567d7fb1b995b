"""smaps, numa_maps and pagemap of memory that several processes share, line by line as the running kernel has them."""

import harness
import pytest

pytestmark = [pytest.mark.linux]


def test_both_sides_of_fork_see_what_the_kernel_shows() -> None:
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    harness.check([harness.compile_c("fork_smaps"), "{work}/file"], aslr=False, work={})


def test_huge_pages_could_be_where_the_kernel_says() -> None:
    """THPeligible of mappings with and without MADV_HUGEPAGE."""
    harness.need_reference_kernel()
    harness.need_disk_file_system(harness.base())
    harness.check([harness.compile_c("thp_eligible"), "{work}/file"], aslr=False, work={})
