""""Use these settings" with images of other programs and models: what is taken over, and what is said of the rest."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
import zlib

from support import RED, STAR, ZIMAGE, expect
from test_parameters import Parameters

PROMPT = "a cat"
FOREIGN = (f"{PROMPT}\nSteps: 30, Sampler: DPM++ 2M, Schedule type: SGM Uniform, CFG scale: 13.5, Seed: 5, Size: 250x127, "
           "Model hash: 0123456789, Model: juggernautXL_v8, Shift: 15, Denoising strength: 0.4, Hires upscale: 2, Version: v1.10.1")


def png(infotext):
    """A PNG file with this text."""
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0")
            + chunk(b"tEXt", b"parameters\0" + infotext.encode("latin-1"))
            + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b""))


class Reuse(Parameters):
    def setUp(self):
        super().setUp()
        self.notes = self.page.locator("#settings-notes")

    def use(self, infotext):
        if self.page.locator("#view-gallery").is_hidden():
            self.page.click(".tabs >> text=Gallery")
        self.page.set_input_files("#infotext-file", {"name": "other.png", "mimeType": "image/png", "buffer": png(infotext)})
        self.page.get_by_role("dialog").get_by_role("button", name="Use these settings").click()
        expect(self.page.locator("#view-generate")).to_be_visible()

    def value(self, name):
        return self.page.input_value(f"#{name}")

    def value_names(self):
        return ("steps", "shift", "guidance", "width", "height", "seed")


class Foreign(Reuse):
    def test_settings_of_another_program(self):
        self.page.click("#more summary")
        self.page.select_option("#schedule", "beta")
        self.use(FOREIGN)
        values = [self.value(name) for name in self.value_names()]
        self.assertEqual(values, ["30", "15", "12.5", "256", "128", "5"])
        self.assertEqual((self.value("model"), self.value("schedule"), self.value("sampler")), ("demo", "beta", "auto"))
        for text in ("Model: juggernautXL_v8 is not among the models here; it stays demo.",
                     "Schedule: 'SGM Uniform' is not one of auto, mlx, diffusers, karras, exponential, beta; it stays beta.",
                     "Sampler: 'DPM++ 2M' is not one of auto, euler, heun, lcm; it stays auto.",
                     "Width: 250 is not a multiple of 16; it is now 256.", "Height: 127 is not a multiple of 16; it is now 128.",
                     "Settings without a field here: Denoising strength, Hires upscale."):
            expect(self.notes).to_contain_text(text)
        expect(self.notes).not_to_contain_text("Steps")
        self.page.reload()  # nothing is lost by that
        self.wait_until_loaded(self.page)
        self.assertEqual([self.value(name) for name in self.value_names()], values)
        self.page.click("#generate")
        expect(self.page.locator("#run")).to_contain_text("seed 5")
        sent = self.latest_job()["params"]
        self.assertEqual([sent[name] for name in ("prompt", "steps", "shift", "guidance", "schedule", "sampler", "seed")],
                         [PROMPT, 30, 15, 12.5, "beta", "auto", "5"])

    def test_a_file_of_this_program(self):
        """All that zimage writes has a field here."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        file = os.path.join(folder, "own.png")
        subprocess.run([ZIMAGE, "generate", "-q", "-p", RED, "-W64", "-H64", "-s2", "--seed", "3", "--guidance", "2", "--negative",
                        STAR, "--shift", "4", "--sampler", "heun", "--schedule", "karras", "--cfg-normalization", "0.5",
                        "--cfg-truncation", "0.8", "--max-tokens", "1000", "-o", file], check=True, stdout=subprocess.DEVNULL)
        self.page.click(".tabs >> text=Gallery")
        self.page.set_input_files("#infotext-file", file)
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_contain_text("Max tokens: 1000")
        expect(dialog).not_to_contain_text("Settings without a field")
        dialog.get_by_role("button", name="Use these settings").click()
        self.assertEqual(self.value("max_tokens"), "1000")
        expect(self.notes).not_to_contain_text("Settings without a field")

    def test_values_outside_of_the_limits(self):
        """The limits are those of the table, and the fields keep what they had."""
        rows = {row["name"]: row for row in self.rows()}
        before = [self.value(name) for name in self.value_names()][1:3]
        for name, text in ("steps", "Steps: 1001"), ("shift", "Shift: 101"), ("width", "Size: 10000x64"), ("guidance", "CFG scale: 102"):
            others = [f"{key}: {usual}" for key, usual in (("Steps", 9), ("Seed", 5), ("Size", "64x64")) if key not in text]
            self.use(f"{PROMPT}\n{', '.join([*others, text])}")
            row = rows[name]
            value = {"width": 10000, "guidance": 101}.get(name) or text.split()[-1]
            expect(self.notes).to_contain_text(f"{row['label']}: {value} is outside of {row['min']} to {row['max']}; it stays ")
        self.assertEqual([self.value(name) for name in self.value_names()][1:3], before)

    def test_choices_in_another_letter_case(self):
        self.use(f"{PROMPT}\nSteps: 4, Sampler: Heun, Schedule type: Karras, Seed: 5, Size: 64x64")
        self.assertEqual((self.value("schedule"), self.value("sampler")), ("karras", "heun"))
        expect(self.notes).to_be_empty()

    def test_own_images_need_no_note(self):
        self.generate_by_api(steps=30, shift=15, guidance=12.5, schedule="karras", sampler="heun", negative="dogs")
        self.page.click("#run >> text=Use these settings")
        expect(self.notes).to_be_empty()
        self.assertEqual((self.value("schedule"), self.value("sampler")), ("karras", "heun"))

    def test_notes_can_be_dismissed_and_end_with_the_next_image(self):
        self.use(FOREIGN)
        self.notes.get_by_role("button", name="Dismiss").click()
        expect(self.notes).to_be_empty()
        expect(self.page.locator("#prompt")).to_be_focused()
        self.use(FOREIGN)
        expect(self.notes).not_to_be_empty()
        self.generate(RED, steps=1)
        expect(self.notes).to_be_empty()

    def test_list_of_models_is_not_loaded(self):
        self.page.route("**/api/models", lambda route: route.abort())
        self.page.reload()
        expect(self.page.locator("#status")).to_have_text("Ready")
        self.use(f"{PROMPT}\nSteps: 4, Seed: 5, Size: 64x64, Model: demo-model")
        expect(self.notes).to_contain_text("Model: demo-model cannot be looked up, since the list of models is not loaded yet.")


class Models(Reuse):
    """Two models whose files have one name, and one that is removed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for layout, name in ("mlx", "mlx/twin"), ("diffusers", "pytorch/twin"), ("mlx", "mlx/gone"):
            folder = f"{cls.server.models}/{name}"
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            subprocess.run([cls.server.program, "convert", "demo", folder, "--to", layout],
                           cwd=cls.server.dir, check=True, capture_output=True)

    def setUp(self):
        super().setUp()
        for name in "mlx/twin", "pytorch/twin", "mlx/gone":
            expect(self.page.locator(f"#model option[value='{name}']")).to_have_count(1)

    def test_name_of_several_models(self):
        self.page.select_option("#model", "pytorch/twin")
        self.use(f"{PROMPT}\nSteps: 4, Seed: 5, Size: 64x64, Model: twin")
        self.assertEqual(self.value("model"), "pytorch/twin")
        expect(self.notes).to_contain_text(re.compile("Model: twin can be pytorch/twin or mlx/twin; it is now pytorch/twin."))

    def test_selected_model_is_removed(self):
        self.page.select_option("#model", "mlx/gone")
        self.page.fill("#prompt", STAR)
        self.page.locator("#prompt").blur()
        folder = f"{self.server.models}/mlx/gone"
        shutil.move(folder, f"{self.server.dir}/gone")
        self.page.reload()
        expect(self.notes).to_contain_text("Model: mlx/gone is not there any more")
        self.assertNotEqual(self.value("model"), "mlx/gone")
        shutil.move(f"{self.server.dir}/gone", folder)
        self.page.reload()
        expect(self.page.locator("#model")).to_have_value("mlx/gone")
        expect(self.notes).to_be_empty()


del Parameters, Reuse

if __name__ == "__main__":
    unittest.main()
