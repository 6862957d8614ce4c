using System.Text.Json;

namespace TokTok.Storage.Core.Tests;

/// <summary>Published test data, found from wherever the tests run.</summary>
internal static class Vectors
{
    internal static string Root { get; } = FindRoot();

    internal static JsonElement Json(string path)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Root, path)));
        return document.RootElement.Clone();
    }

    internal static byte[] Hex(this JsonElement element) => Convert.FromHexString(element.GetString()!);

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "TokTok.Storage.sln")))
            {
                return Path.Combine(folder.FullName, "tests", "vectors");
            }
        }

        throw new DirectoryNotFoundException($"TokTok.Storage.sln is in no folder above {AppContext.BaseDirectory}");
    }
}
