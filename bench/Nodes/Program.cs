using System.Globalization;

namespace Nodes;

/// <summary>Fragments to and from a node on loopback, beside a plain file server and rsync's daemon on the same bytes; and how many audits a core answers and asks.</summary>
/// <remarks>Whole commands over seven nodes are measured by <c>bench/Nodes/run</c>, which calls this.</remarks>
internal static class Program
{
    private const string Usage = """
        tools/bench nodes [--mib N] [--rounds N] [--tree FOLDER] [--no-build]
          256 MiB a round, 5 rounds, and src/ of this repository for the imports unless said otherwise
        """;

    internal static async Task<int> Main(string[] args)
    {
        (int mib, int rounds) = (256, 5);
        for (int i = 0; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "serve-node" when args.Length == 4: return await NodeServer.RunAsync(args[1], args[2], args[3]);
                case "serve-files" when args.Length == 2: return await FileServer.RunAsync(args[1]);
                case "--mib" when i + 1 < args.Length: mib = int.Parse(args[++i], CultureInfo.InvariantCulture); break;
                case "--rounds" when i + 1 < args.Length: rounds = int.Parse(args[++i], CultureInfo.InvariantCulture); break;
                default:
                    await Console.Error.WriteLineAsync(Usage);
                    return 2;
            }
        }

        string folder = Directory.CreateTempSubdirectory("tdfs-nodes").FullName;
        try
        {
            await Comparison.RunAsync(folder, mib, rounds);
            return 0;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
