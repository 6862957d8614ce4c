using System.Diagnostics;
using System.Globalization;

namespace TokTok.Storage.Tdfs.Tests.Faults;

/// <summary>A mount namespace of its own: what is mounted in it nobody else sees, and it goes with the test, however that ends.</summary>
/// <remarks>
/// Kept alive by a cat that ends with our end of its input. Without root it is a user namespace too, in which tmpfs can be mounted and loop devices cannot.
/// The test looks into it by way of /proc/PID/root.
/// </remarks>
internal sealed class MountSpace : IDisposable
{
    private readonly Drill _drill;
    private readonly Process _keeper;

    private MountSpace(Drill drill, Process keeper)
    {
        _drill = drill;
        _keeper = keeper;
    }

    internal static bool IsRoot => Environment.IsPrivilegedProcess;

    /// <summary>The same path, from outside.</summary>
    internal string Seen(string path) => string.Create(CultureInfo.InvariantCulture, $"/proc/{_keeper.Id}/root{path}");

    /// <summary>Opens one, or skips the test and says why.</summary>
    internal static MountSpace Open(Drill drill)
    {
        Assert.SkipWhen(Drill.Missing("unshare", "nsenter", "mount") is not null, Drill.Missing("unshare", "nsenter", "mount") ?? "");
        string[] words = [.. IsRoot ? (string[])[] : ["-r"], "-m", "--propagation", "private"];
        ProgramRun trial = drill.Run("unshare", [.. words, "true"]);
        Assert.SkipWhen(trial.Code != 0, "mount namespaces cannot be made here: " + trial.LastLine);
        ProcessStartInfo start = new("unshare", [.. words, "sh", "-c", "echo ready; exec cat"]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        Process keeper = Process.Start(start)!;
        Assert.Equal("ready", keeper.StandardOutput.ReadLine());
        return new MountSpace(drill, keeper);
    }

    internal string[] Inside(IEnumerable<string> words) =>
        ["-t", _keeper.Id.ToString(CultureInfo.InvariantCulture), "-m", .. IsRoot ? (string[])[] : ["-U", "--preserve-credentials"], .. words];

    internal ProgramRun Run(params string[] words) => _drill.Run("nsenter", Inside(words));

    internal ProgramRun Tdfs(string store, params string[] words) => Run([Drill.Program, .. Drill.Words(store, words)]);

    internal ProgramRun Import(string store, string label) => Run([Drill.Program, .. Drill.Words(store, _drill.ImportWords(label))]);

    internal Process StartImport(string store, string label) => _drill.Start("nsenter", Inside([Drill.Program, .. Drill.Words(store, _drill.ImportWords(label))]));

    public void Dispose()
    {
        _keeper.StandardInput.Close();
        _keeper.WaitForExit();
        _keeper.Dispose();
    }
}
