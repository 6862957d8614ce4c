using System.Diagnostics;
using System.Text;

namespace TokTok.Storage.Files.Tests;

public sealed class IgnorePatternsTests
{
    [Theory]
    [InlineData("hello.*", "hello.c", false, true)]
    [InlineData("hello.*", "a/hello.c", false, true)]
    [InlineData("/hello.*", "a/hello.c", false, false)]
    [InlineData("/hello.*", "hello.c", false, true)]
    [InlineData("foo/", "foo", false, false)]
    [InlineData("foo/", "foo", true, true)]
    [InlineData("foo/", "a/foo", true, true)]
    [InlineData("doc/frotz", "doc/frotz", false, true)]
    [InlineData("doc/frotz", "a/doc/frotz", false, false)]
    [InlineData("doc/frotz/", "a/doc/frotz", true, false)]
    [InlineData("frotz/", "a/frotz", true, true)]
    [InlineData("foo/*", "foo/test.json", false, true)]
    [InlineData("foo/*", "foo/bar/hello.c", false, false)]
    [InlineData("**/foo", "foo", false, true)]
    [InlineData("**/foo", "x/y/foo", false, true)]
    [InlineData("**/foo/bar", "x/foo/bar", false, true)]
    [InlineData("abc/**", "abc/x/y", false, true)]
    [InlineData("abc/**", "abc", true, false)]
    [InlineData("a/**/b", "a/b", false, true)]
    [InlineData("a/**/b", "a/x/y/b", false, true)]
    [InlineData("a/**/b", "ab", false, false)]
    [InlineData("a**b", "axxb", false, true)]
    [InlineData("x/a**b", "x/a/b", false, false)]
    [InlineData("\\#x", "#x", false, true)]
    [InlineData("#x", "#x", false, false)]
    [InlineData("\\!x", "!x", false, true)]
    [InlineData("x ", "x", false, true)]
    [InlineData("x\\ ", "x ", false, true)]
    [InlineData("x\\ ", "x", false, false)]
    [InlineData("[a-c]x", "bx", false, true)]
    [InlineData("[!a-c]x", "bx", false, false)]
    [InlineData("[[:digit:]]", "7", false, true)]
    [InlineData("[]-]", "]", false, true)]
    [InlineData("/", "x", true, false)]
    [InlineData("*.o\n!keep.o", "keep.o", false, false)]
    [InlineData("*.o\n!keep.o\n", "a/b.o", false, true)]
    [InlineData("!keep.o\n*.o", "keep.o", false, true)]
    [InlineData("*.o\r\nb\r\n", "b", false, true)]
    [InlineData("a/?/b", "a///b", false, false)]
    public void A_path_is_left_out_as_gitignore_says(string lines, string path, bool isDirectory, bool expected)
    {
        IgnorePatterns patterns = IgnorePatterns.Parse(Encoding.UTF8.GetBytes(lines));
        Assert.Equal(expected, patterns.IsIgnored(Encoding.UTF8.GetBytes(path), isDirectory));
    }

    [Fact]
    public void A_name_that_is_not_utf8_is_matched_by_its_bytes()
    {
        IgnorePatterns patterns = IgnorePatterns.Parse([0xff, (byte)'?', (byte)'\n']);
        Assert.True(patterns.IsIgnored([0xff, 0x80], isDirectory: false));
        Assert.False(patterns.IsIgnored([0xfe, 0x80], isDirectory: false));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Random_patterns_leave_out_what_git_check_ignore_does(int seed)
    {
        if (!HasGit())
        {
            Assert.Skip("git is not installed");
        }

        var random = new Random(seed);
        string[] pieces = ["a", "b", "ab", "*", "?", "**", "/", "/", "[ab]", "[!a]", "\\a", "!", "c", "[a-c", " ", "[[:alpha:]]", "*/", "**/"];
        string folder = Path.Combine(Path.GetTempPath(), $"tdfs-ignore-{Guid.NewGuid():N}");
        _ = Directory.CreateDirectory(folder);
        try
        {
            _ = Git(folder, "init -q .", "");
            for (int round = 0; round < 25; round++)
            {
                var lines = new StringBuilder();
                for (int i = 0; i < 1 + random.Next(4); i++)
                {
                    for (int j = 0; j < 1 + random.Next(5); j++)
                    {
                        _ = lines.Append(pieces[random.Next(pieces.Length)]);
                    }

                    _ = lines.Append('\n');
                }

                var paths = new List<string>();
                for (int i = 0; i < 40; i++)
                {
                    string[] names = ["a", "b", "ab", "c", "abc", "ba", "d"];
                    string path = string.Join('/', Enumerable.Range(0, 1 + random.Next(4)).Select(_ => names[random.Next(names.Length)]));
                    paths.Add(path);
                }

                File.WriteAllText(Path.Combine(folder, ".gitignore"), lines.ToString());
                string output = Git(folder, "check-ignore --no-index -z --stdin", string.Concat(paths.Select(p => p + "\0")));
                var ignoredByGit = output.Split('\0', StringSplitOptions.RemoveEmptyEntries).ToHashSet();
                IgnorePatterns patterns = IgnorePatterns.Parse(Encoding.UTF8.GetBytes(lines.ToString()));
                foreach (string path in paths)
                {
                    Assert.True(ignoredByGit.Contains(path) == IsIgnoredOnTheWay(patterns, path), $"seed {seed}, patterns:\n{lines}path: {path}");
                }
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // None of the paths exist, so git takes the last part for a file and those before it for directories.
    private static bool IsIgnoredOnTheWay(IgnorePatterns patterns, string path)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(path);
        for (int i = 0; i < bytes.Length; i++)
        {
            if (bytes[i] == '/' && patterns.IsIgnored(bytes.AsSpan(0, i), isDirectory: true))
            {
                return true;
            }
        }

        return patterns.IsIgnored(bytes, isDirectory: false);
    }

    private static bool HasGit()
    {
        try
        {
            using Process? process = Process.Start(new ProcessStartInfo("git", "--version") { RedirectStandardOutput = true });
            process!.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    private static string Git(string folder, string arguments, string input)
    {
        var start = new ProcessStartInfo("git", arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        using Process process = Process.Start(start)!;
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return output;
    }
}
