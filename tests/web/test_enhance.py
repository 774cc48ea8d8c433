"""The Enhance button, with a language model that always gives one answer."""

import importlib.util
import os
import shutil
import sys
import unittest
import urllib.request

from support import PageCase, expect

CLI = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli")


def make_language_model():
    """The model of the command line's tests of enhance. -> folder, its answer, a function that removes the folder"""
    own_support = sys.modules.pop("support")  # those tests have another module of this name
    sys.path.insert(0, CLI)
    spec = importlib.util.spec_from_file_location("cli_enhance", os.path.join(CLI, "test_enhance.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(CLI)
    sys.modules["support"] = own_support
    maker = module.Enhancing()
    maker.setUp()
    return maker.chain(), module.ANSWER, maker.doCleanups


class Enhance(PageCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder, cls.answer, remove = make_language_model()
        shutil.copytree(folder, os.path.join(cls.server.models, "prompt_enhancer"))
        remove()

    def test_text_is_streamed(self):
        self.page.fill("#prompt", "a cow")
        self.page.evaluate("""() => {
            const prompt = document.querySelector('#prompt');
            const { get, set } = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value');
            window.seen = [];
            Object.defineProperty(prompt, 'value', {
                get() { return get.call(prompt); }, set(text) { window.seen.push(text); set.call(prompt, text); } }); }""")
        self.page.click("#enhance")
        expect(self.page.locator("#prompt")).to_have_value(self.answer)
        seen = self.page.evaluate("window.seen")
        self.assertGreater(len(set(seen)), 1, seen)
        for earlier, later in zip(seen, seen[1:]):
            self.assertTrue(later.startswith(earlier), seen)
        expect(self.page.locator("#enhance")).to_have_text("Enhance")
        expect(self.page.locator("#announcer")).to_have_text("Prompt enhanced.")
        self.page.click("#generate")
        expect(self.page.locator("#run")).to_contain_text("Generated")
        expect(self.page.locator("#result")).to_contain_text("Original prompt")
        expect(self.page.locator("#result")).to_contain_text("a cow")
        self.page.click("#enhance-undo")
        expect(self.page.locator("#prompt")).to_have_value("a cow")
        expect(self.page.locator("#enhance-undo")).to_be_hidden()

    def test_errors_are_shown_beside_the_prompt(self):
        self.page.click("#enhance")
        expect(self.page.locator("#prompt-error")).to_contain_text("Enter a prompt")
        model = os.path.join(self.server.models, "prompt_enhancer")
        os.rename(model, os.path.join(self.server.dir, "one"))
        self.addCleanup(os.rename, os.path.join(self.server.dir, "one"), model)
        self.page.fill("#prompt", "a cow")
        self.page.click("#enhance")  # falls back to the demo model's text encoder, which writes nothing useful
        expect(self.page.locator("#prompt-error")).not_to_be_empty()
        expect(self.page.locator("#prompt")).to_have_value("a cow")


class WithoutLanguageModel(PageCase):
    def test_reason_is_shown(self):
        """Until there is a language model."""
        button, reason = self.page.locator("#enhance"), self.page.locator("#enhance-problem")
        expect(button).to_be_disabled()
        expect(reason).to_have_text("There is no language model, and the demo model cannot write prompts; "
                                    "to get a language model, download prompt-enhancer (on the page under Models, or with "
                                    "`zimage download prompt-enhancer`).")
        expect(button).to_have_accessible_description(reason.text_content())
        folder, _, remove = make_language_model()
        shutil.copytree(folder, os.path.join(self.server.models, "prompt_enhancer"))
        remove()
        request = urllib.request.Request(self.server.url + "sdapi/v1/refresh-checkpoints", b"", method="POST")
        urllib.request.urlopen(request, timeout=60).close()
        expect(button).to_be_enabled()
        expect(reason).to_be_empty()


if __name__ == "__main__":
    unittest.main()
