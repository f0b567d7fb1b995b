"""What ``explain`` prints, from plain data."""

import json

from pagewalk.view.explain import Explanation, Frame, Sharer, WalkStep


def example() -> Explanation:
    return Explanation(
        pid=7,
        addr=0x7FFFF7D00123,
        vma="7ffff7d00000-7ffff7e00000 rw-p 00000000 00:00 0",
        flags=["rd", "wr"],
        steps=[
            WalkStep("pgd", 255, 0x1000, 0x2067, ["P", "RW", "US", "A", "D"], "table at 0x2000"),
            WalkStep("pte", 256, 0x5000, -0x7FFFFFFFFFFF8799, ["P", "RW", "NX"], "frame 0x7"),
        ],
        frame=Frame(
            7, "Normal", "anonymous", ["swapbacked"], 2, 2, [Sharer(7, 0x7FFFF7D00000), Sharer(8, 0x7FFFF7D00000)]
        ),
    )


def test_every_level_shows_index_address_entry_and_bits() -> None:
    text = str(example())
    assert "pgd      [255] at 0x00000017f8 = 0x0000000000002067  P RW US A D" in text
    assert "table at 0x2000" in text


def test_an_entry_with_bit_63_is_shown_unsigned() -> None:
    assert "= 0x8000000000007867" in str(example())


def test_the_frame_says_who_shares_it() -> None:
    text = str(example())
    assert "pfn 0x7 at 0x7000, zone Normal: anonymous" in text
    assert "refcount 2, mapcount 2, flags swapbacked" in text
    assert "mapped by process 7 at 0x7ffff7d00000 (this one)" in text
    assert "mapped by process 8 at 0x7ffff7d00000\n" in text + "\n"


def test_nothing_mapped_is_said_in_words() -> None:
    text = str(Explanation(1, 0x10, reason="an access raises SIGSEGV (SEGV_MAPERR)"))
    assert "vma      none: the address is not mapped" in text
    assert "frame    none" in text
    assert "so       an access raises SIGSEGV (SEGV_MAPERR)" in text


def test_a_kernel_address_is_shown_unsigned() -> None:
    assert "address  0xffffffffff600000 of process 1" in str(Explanation(1, -0xA00000))


def test_json_has_the_same_facts() -> None:
    data = json.loads(example().as_json())
    assert data["addr"] == "0x7ffff7d00123"
    assert data["steps"][0]["entry_addr"] == "0x17f8"
    assert data["frame"]["sharers"][1] == {"pid": 8, "addr": "0x7ffff7d00000", "comm": ""}
