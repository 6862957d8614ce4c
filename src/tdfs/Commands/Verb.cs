using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>One verb of the command: a sentence, examples, and what it does.</summary>
internal class Verb : Command
{
    /// <param name="examples">Lines that can be typed as they stand, each with a comment after "#".</param>
    internal Verb(string name, string sentence, params string[] examples)
        : base(name, sentence) => Examples = examples;

    internal IReadOnlyList<string> Examples { get; }

    /// <summary>Says what the verb does. Exceptions are the caller's to explain (<see cref="ErrorHandler"/>).</summary>
    internal void Does(VerbContext context, Func<VerbRun, CancellationToken, Task<ExitCode>> action) =>
        SetAction(async (parsed, cancel) => (int)await action(new VerbRun(context, parsed), cancel).ConfigureAwait(false));
}

/// <summary>What every verb gets from outside: the world, and the store's host when there is one.</summary>
internal sealed class VerbContext
{
    public required CommandOutput Output { get; init; }

    public required Func<string, string?> Environment { get; init; }

    /// <summary>Null as long as nothing composes a store: then only the verbs that need none exist.</summary>
    public IStoreHost? Host { get; init; }

    public string Terminal { get; init; } = "/dev/tty";

    /// <summary>What relative paths of the line count from, where a running node runs it for another process; null: this process's own folder.</summary>
    public string? WorkingFolder { get; init; }

    /// <summary>What [log] asks for; null until storage.toml was read, and where it asks for none.</summary>
    internal EventLog? Log { get; set; }

    internal GlobalOptions Globals { get; } = new();
}

/// <summary>The options that every verb takes.</summary>
internal sealed class GlobalOptions
{
    internal Option<string?> Config { get; } = new("--config") { Description = "Read this storage.toml", HelpName = "file", Recursive = true };

    internal Option<string?> Store { get; } = new("--store") { Description = "The store's folder, instead of the one storage.toml names", HelpName = "folder", Recursive = true };

    internal Option<bool> Json { get; } = new("--json") { Description = "Write the result to stdout as one JSON object", Recursive = true };

    internal Option<bool> JsonProgress { get; } = new("--json-progress") { Description = "Write progress to stderr, a JSON object a line", Recursive = true };

    internal Option<bool> Quiet { get; } = new("--quiet", "-q") { Description = "Say only warnings and errors", Recursive = true };

    internal Option<bool> NoProgress { get; } = new("--no-progress") { Description = "Show no progress", Recursive = true };

    internal Option<int?> PassphraseFd { get; } = new("--passphrase-fd") { Description = "Read the passphrase from this file descriptor", HelpName = "n", Recursive = true };

    internal IEnumerable<Option> All => [Config, Store, Json, JsonProgress, Quiet, NoProgress, PassphraseFd];
}

/// <summary>One run of a verb: its parsed line and what follows from the global options.</summary>
internal sealed class VerbRun
{
    private readonly VerbContext _context;
    private readonly ParseResult _parsed;

    internal VerbRun(VerbContext context, ParseResult parsed)
    {
        _context = context;
        _parsed = parsed;
        Output.IsJson = parsed.GetValue(context.Globals.Json);
        Output.IsQuiet = parsed.GetValue(context.Globals.Quiet);
        Output.HidesProgress = parsed.GetValue(context.Globals.NoProgress);
        Output.IsJsonProgress = parsed.GetValue(context.Globals.JsonProgress);
    }

    internal CommandOutput Output => _context.Output;

    internal Func<string, string?> Environment => _context.Environment;

    internal IStoreHost Host => _context.Host ?? throw new InvalidOperationException("a verb that needs a store was made without a host");

    internal PassphraseSource Passphrases => new(_parsed.GetValue(_context.Globals.PassphraseFd), _context.Environment, _context.Terminal);

    internal T? Get<T>(Option<T> option) => _parsed.GetValue(option);

    /// <summary>The argument's value; null only where its type says so.</summary>
    internal T Get<T>(Argument<T> argument) => _parsed.GetValue(argument)!;

    internal bool Has(Option option) => _parsed.GetResult(option) is { Implicit: false };

    internal StorageConfig LoadConfig()
    {
        string? file = _parsed.GetValue(_context.Globals.Config);
        StorageConfig config = ConfigFile.Load(string.IsNullOrEmpty(file) ? file : FullPath(file), _context.Environment, _parsed.GetValue(_context.Globals.Store) is { Length: > 0 } named ? FullPath(named) : null);
        _context.Log ??= EventLog.Begin(config, _parsed.CommandResult.Command.Name, Output.Clock);
        return _parsed.GetValue(_context.Globals.Store) is not string store ? config
            : store.Length == 0 ? throw new UserError(ExitCode.Usage, "found an empty --store, expected a folder")
            : config with { StorePath = FullPath(store) };
    }

    /// <summary>A path of the line, whoever typed it.</summary>
    internal string FullPath(string path) => _context.WorkingFolder is { } folder ? Path.GetFullPath(path, folder) : Path.GetFullPath(path);

    /// <param name="asksNode">A reader asks a running node too, which knows what no disk has yet; writers always do.</param>
    /// <param name="isNode">The verb is to be the node itself: another one is in its way.</param>
    internal ValueTask<IStoreSession> OpenAsync(StoreAccess access, CancellationToken cancel, bool replacesAbsentHolders = false, bool asksNode = false, bool isNode = false, bool takesTurns = false)
    {
        StorageConfig config = LoadConfig();
        bool mayForward = _context.WorkingFolder is null && !isNode && (asksNode || access != StoreAccess.Read);
        if (mayForward && Node.NodeClient.TryConnect(Node.NodePaths.Socket(_context.Environment, config.StorePath)) is { } node)
        {
            throw new Node.NodeAnswersException(node);
        }

        return Host.OpenAsync(RequestOf(config, access, replacesAbsentHolders) with { TakesTurns = takesTurns }, cancel);
    }

    /// <summary>For what the host does with the store closed.</summary>
    /// <param name="what">What the verb does then, for who has a node running.</param>
    internal OpenRequest NewRequest(string what)
    {
        StorageConfig config = LoadConfig();
        using Node.NodeClient? node = Node.NodeClient.TryConnect(Node.NodePaths.Socket(_context.Environment, config.StorePath));
        return node is null ? RequestOf(config, StoreAccess.Write, false) : throw new UserError(
            ExitCode.Locked,
            $"found a node that has the store open, expected none: {what} changes the keyring, which a running node has read; end it (Ctrl-C in `tdfs up`, or systemctl --user stop tdfs), then run this again");
    }

    /// <summary>For what concerns peers alone, which a running node reads again when it has changed.</summary>
    internal OpenRequest PeerRequest() => RequestOf(LoadConfig(), StoreAccess.Read, false);

    private OpenRequest RequestOf(StorageConfig config, StoreAccess access, bool replacesAbsentHolders) => new()
    {
        Config = config,
        Access = access,
        Passphrases = Passphrases,
        Verb = _parsed.CommandResult.Command.Name,
        ReplacesAbsentHolders = replacesAbsentHolders,
    };

    /// <summary>A path inside a store, as `tdfs ls` prints it; null: the root.</summary>
    internal static byte[] ParsePath(string? text) => TerminalText.TryParse(text ?? "", out byte[] path)
        ? path
        : throw new UserError(ExitCode.Usage, $"{text}: found a backslash that begins no escape, expected \\\\, \\n, \\t, \\r or \\xHH as `tdfs ls` writes them");
}

/// <summary>The usual help, and below it the verb's examples.</summary>
internal sealed class HelpWithExamples(HelpAction usual) : SynchronousCommandLineAction
{
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        int code = usual.Invoke(parseResult);
        if (parseResult.CommandResult.Command is Verb { Examples.Count: > 0 } verb)
        {
            TextWriter target = parseResult.InvocationConfiguration.Output;
            target.WriteLine("Examples:");
            foreach (string example in verb.Examples)
            {
                target.WriteLine("  " + example);
            }

            target.WriteLine();
        }

        return code;
    }
}
