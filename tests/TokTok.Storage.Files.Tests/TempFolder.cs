using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>A folder of one test's own, gone at its end.</summary>
internal sealed class TempFolder : IDisposable
{
    internal TempFolder() => System.IO.Directory.CreateDirectory(Path);

    internal string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"tdfs-test-{Guid.NewGuid():N}");

    internal string At(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose() => SampleTree.Delete(Path);
}
