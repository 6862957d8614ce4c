using TokTok.Storage.Tdfs.Config;

namespace TokTok.Storage.Tdfs.Tests.Config;

public sealed class ConfigFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-config-").FullName;
    private readonly Dictionary<string, string> _environment = [];

    public ConfigFileTests() => _environment["HOME"] = _folder;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private StorageConfig Load(string? named = null) => ConfigFile.Load(named, _environment.GetValueOrDefault);

    private string Write(string name, string storePath)
    {
        string path = Path.Join(_folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, $"[store]\npath = \"{storePath}\"\n");
        return path;
    }

    [Fact]
    public void The_named_file_goes_before_the_variable_and_that_before_the_users()
    {
        Assert.Equal(Path.Join(_folder, ".local/share/tdfs"), Load().StorePath);
        Write(".config/tdfs/storage.toml", "/users");
        Assert.Equal("/users", Load().StorePath);
        _environment["XDG_CONFIG_HOME"] = Path.Join(_folder, "xdg");
        Write("xdg/tdfs/storage.toml", "/xdg");
        Assert.Equal("/xdg", Load().StorePath);
        _environment["TDFS_CONFIG"] = Write("variable.toml", "/variable");
        Assert.Equal("/variable", Load().StorePath);
        Assert.Equal("/named", Load(Write("named.toml", "/named")).StorePath);
    }

    [Fact]
    public void A_relative_store_counts_from_the_files_folder()
        => Assert.Equal(Path.Join(_folder, "deep/vault"), Load(Write("deep/named.toml", "vault")).StorePath);

    [Fact]
    public void A_named_file_that_is_missing_is_an_error_in_one_line()
    {
        UserError error = Assert.Throws<UserError>(() => Load(Path.Join(_folder, "no.toml")));
        Assert.Equal(ExitCode.Config, error.Code);
        Assert.Contains("found no such file", error.Message);
    }

    [Fact]
    public void A_folder_instead_of_a_file_is_an_error_in_one_line()
    {
        UserError error = Assert.Throws<UserError>(() => Load(_folder));
        Assert.Equal(ExitCode.Config, error.Code);
    }
}
