"""cmake/join.cmake bundles modules into one script, and fails for what it does not support."""

import os
import subprocess
import tempfile
import unittest

JOIN = os.path.join(os.path.dirname(__file__), "..", "..", "cmake", "join.cmake")


class Join(unittest.TestCase):
    def join(self, **modules):
        """-> the script (None if CMake failed), CMake's messages"""
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(f"{folder}/js")
            for name, text in modules.items():
                with open(f"{folder}/js/{name}.js", "w", encoding="utf-8") as file:
                    file.write(text)
            with open(f"{folder}/run.cmake", "w", encoding="utf-8") as file:
                file.write(f'cmake_minimum_required(VERSION 3.20)\ninclude("{os.path.abspath(JOIN)}")\nzi_join_modules("{folder}" "{folder}/out.js" main)\n')
            done = subprocess.run(["cmake", "-P", f"{folder}/run.cmake"], capture_output=True, text=True)
            if done.returncode:
                return None, " ".join(done.stderr.split())
            with open(f"{folder}/out.js", encoding="utf-8") as file:
                return file.read(), done.stderr

    def test_modules_are_bundled_in_order_of_imports(self):
        script, _ = self.join(
            base="export const $ = [';', ']'];\nexport const a_1 = 1;\nexport class Fault extends Error {}\n",
            left="// First.\nimport { $, Fault as Bad } from './base.js';\nexport function left() { return `${$} \\\\n`; }\n",
            right="import * as base from './base.js';\nexport async function right() { return base.$; }\n",
            main="import { left } from './left.js';\nimport { right } from './right.js';\nleft(right);\n")
        self.assertEqual(script, """const page = {};
page.base = (() => {
const $ = [';', ']'];
const a_1 = 1;
class Fault extends Error {}
return { $, a_1, Fault };
})();
page.left = (() => {
// First.
const { $, Fault: Bad } = page.base;
function left() { return `${$} \\\\n`; }
return { left };
})();
page.right = (() => {
const base = page.base;
async function right() { return base.$; }
return { right };
})();
page.main = (() => {
const { left } = page.left;
const { right } = page.right;
left(right);
return {  };
})();
""")

    def test_unsupported_forms_are_errors(self):
        for line in ("export default 1;", "export { a };", "export let a = 1;", "import a from './base.js';",
                     "import './base.js';", "import { $ as a, $ as b } from './base.js';", "const a = import('./base.js');",
                     "import { $ } from \"./base.js\";", "import { $ } from 'elsewhere';"):
            script, messages = self.join(base="export const $ = 1;\n", main=f"{line}\n")
            self.assertIsNone(script, line)
            self.assertIn("main.js: cmake/join.cmake does not know this form", messages, line)

    def test_missing_export_is_an_error(self):
        script, messages = self.join(main="import { a, b as c } from './a.js';\n", a="export const a = 1, b = 2;\n")
        self.assertIsNone(script)
        self.assertIn("main.js: a.js does not export b", messages)

    def test_circular_import_is_an_error(self):
        script, messages = self.join(main="import { a } from './a.js';\n", a="import { b } from './b.js';\nexport const a = 1;\n",
                                 b="import { a } from './a.js';\nexport const b = 1;\n")
        self.assertIsNone(script)
        self.assertIn("a.js: imports itself", messages)


if __name__ == "__main__":
    unittest.main()
