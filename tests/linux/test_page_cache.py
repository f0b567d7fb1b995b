"""The page cache as ext4 fills it: folios of several pages, writes that fail, truncation and holes, faults at the end
of a file. What is cached, dirty and present in page tables afterwards equals the running kernel's."""

import harness
import pytest

pytestmark = [pytest.mark.linux, pytest.mark.slow]


@pytest.mark.parametrize("part", [["failing"], ["edges"], ["folios", "0", "40"], ["folios", "100", "140"]])
def test_the_cache_holds_what_the_kernels_does(part: list[str]) -> None:
    harness.need_reference_kernel()
    harness.need_file_system(harness.base(), "ext2/ext3")
    harness.check(
        [harness.compile_c("page_cache"), "{work}", *part], aslr=False, work={}, options=harness.device_options()
    )
