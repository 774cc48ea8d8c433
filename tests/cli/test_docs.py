"""The man page and the shell completions: they have every option, and shells take them."""

import os
import re
import shutil
import subprocess
import unittest

ZIMAGE = os.environ["ZIMAGE"]


def zimage(*words):
    return subprocess.run([ZIMAGE, *words], capture_output=True, text=True, check=True).stdout


def commands():
    return re.findall(r"^  (\w+) +\S", zimage("help").split("\n\n")[2], flags=re.M)


def options(command):
    return re.findall(r"^  (?:-\w,|   ) --([\w-]+)", zimage(command, "--help"), flags=re.M)


class Docs(unittest.TestCase):
    def test_every_option_is_there(self):
        man, bash, zsh, fish = (zimage("docs", name) for name in ("man", "bash", "zsh", "fish"))
        names = commands()
        self.assertIn("generate", names)
        self.assertIn("docs", names)
        for command in names:
            self.assertIn(f".SS zimage {command} ", man)
            self.assertIn(f"'{command}:", zsh)
            section = man.split(f".SS zimage {command} ")[1].split("\n.SS ")[0]
            for option in options(command):
                if option == "help":
                    continue
                self.assertIn("\\-\\-" + option.replace("-", "\\-"), section, command)
                self.assertRegex(bash, rf'\n    {command}\) options="[^"]*--{option} ')
                self.assertRegex(zsh.split(f"\n    {command})")[1].split(";;")[0], rf"--{option}\b")
                self.assertRegex(fish, rf"'__fish_seen_subcommand_from {command}' -l {option} ")

    def complete(self, *words):
        script = zimage("docs", "bash") + '\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _zimage; echo "${COMPREPLY[@]}"'
        run = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True)
        self.assertEqual(run.stderr, "")
        return run.stdout.split()

    @unittest.skipUnless(shutil.which("bash"), "no bash")
    def test_bash_completes(self):
        self.assertEqual(self.complete("zimage", "gen"), ["generate"])
        self.assertEqual(self.complete("zimage", "generate", "--sch"), ["--schedule"])
        self.assertEqual(self.complete("zimage", "generate", "--compute", ""), ["auto", "exact", "fast"])
        self.assertEqual(self.complete("zimage", "convert", "a", "b", "--to", "g"), ["gguf"])

    @unittest.skipUnless(shutil.which("zsh"), "no zsh")
    def test_zsh_gets_what_help_says(self):
        """Quotes are closed: names and descriptions of subcommands and options arrive whole."""
        script = """_describe() { print -rl -- "${(@P)2}" }; _arguments() { print -rl -- "$@" }
                    words=(zimage $1 --); CURRENT=$#words; source =(print -r -- "$2")"""
        def told(*words):
            run = subprocess.run(["zsh", "-fc", script.replace("$1", " ".join(words)), "zsh", "", zimage("docs", "zsh")],
                                 capture_output=True, text=True)
            self.assertEqual(run.stderr, "")
            return run.stdout.splitlines()

        summaries = dict(re.findall(r"^  (\w+) +(\S.*)", zimage("help").split("\n\n")[2], flags=re.M))
        self.assertEqual(told(), [f"{name}:{text}" for name, text in summaries.items()])
        for command in summaries:
            lines = told(command)
            for option in options(command):
                self.assertTrue(any(re.match(rf"(\(.*\)|\*)?--{option}\b", line) for line in lines), (option, lines))

    @unittest.skipUnless(shutil.which("fish"), "no fish")
    def test_fish_completes(self):
        def complete(words):
            script = zimage("docs", "fish") + f"\ncomplete -C '{words}'"
            run = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True)
            self.assertEqual(run.stderr, "")
            return run.stdout.splitlines()

        self.assertIn("download\tdownload a model from Hugging Face's hub", complete("zimage down"))
        self.assertEqual([line.split("\t")[0] for line in complete("zimage generate --compute ")],
                         ["auto", "exact", "fast"])

    def test_shells_take_them(self):
        for shell in ("bash", "zsh", "fish"):
            if shutil.which(shell):
                run = subprocess.run([shell, "-n"], input=zimage("docs", shell), capture_output=True, text=True)
                self.assertEqual((run.returncode, run.stderr), (0, ""), shell)

    @unittest.skipUnless(shutil.which("groff"), "no groff")
    def test_man_page_has_no_warnings(self):
        run = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=zimage("docs", "man"), capture_output=True,
                             text=True)
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_unknown_format(self):
        run = subprocess.run([ZIMAGE, "docs", "tcsh"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 2)
        self.assertIn("the formats are man, bash, zsh and fish", run.stderr)


if __name__ == "__main__":
    unittest.main()
