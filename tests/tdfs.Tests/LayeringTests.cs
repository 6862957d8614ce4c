using System.Xml.Linq;

namespace TokTok.Storage.Tdfs.Tests;

/// <summary>Holds every project to the table of docs/architecture.md: who may import whom.</summary>
public sealed class LayeringTests
{
    private const string Prefix = "TokTok.Storage.";

    private static readonly Dictionary<string, string[]> s_allowed = new()
    {
        ["Core"] = [],
        ["Blocks"] = ["Core"],
        ["Files"] = ["Core"],
        ["Node"] = ["Core"],
        ["Sync"] = ["Core", "Files"],
        ["Messenger"] = ["Core", "Files"],
        ["Mount"] = ["Core", "Files"],
        ["WebDav"] = ["Core", "Files"],
        ["tdfs"] = ["Core", "Blocks", "Files", "Node", "Sync", "Messenger", "Mount", "WebDav"],
    };

    public static TheoryData<string> Projects =>
        [.. Directory.GetFiles(Path.Join(Top(), "src"), "*.csproj", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(Top(), f))];

    [Theory]
    [MemberData(nameof(Projects))]
    public void Each_project_imports_only_what_the_table_allows(string project)
    {
        string name = Short(project);
        Assert.True(s_allowed.ContainsKey(name), $"{project} is not in the table: decide whom it may import, and write it into docs/architecture.md");
        string[] imports = References(project);
        Assert.Empty(imports.Except(s_allowed[name]));
    }

    [Fact]
    public void There_are_projects_to_hold_to_it() => Assert.True(Projects.Count >= 4);

    [Fact]
    public void Each_test_project_tests_its_own_and_shares_only_the_testing_library()
    {
        foreach (string file in Directory.GetFiles(Path.Join(Top(), "tests"), "*.Tests.csproj", SearchOption.AllDirectories))
        {
            string tested = Short(file)[..^".Tests".Length];
            string[] imports = References(Path.GetRelativePath(Top(), file));
            Assert.Empty(imports.Except([tested, "Testing", .. s_allowed[tested]]));
        }
    }

    private static string[] References(string project) =>
        [.. XDocument.Load(Path.Join(Top(), project)).Descendants("ProjectReference").Select(r => Short(((string)r.Attribute("Include")!).Replace('\\', '/')))];

    private static string Short(string path)
    {
        string name = Path.GetFileNameWithoutExtension(path);
        return name.StartsWith(Prefix, StringComparison.Ordinal) ? name[Prefix.Length..] : name;
    }

    private static string Top()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Join(folder.FullName, "TokTok.Storage.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("the tests run outside of the repository");
    }
}
