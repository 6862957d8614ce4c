using System.CommandLine;
using TokTok.Storage.Tdfs.Agent;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs agent`: what holds the keyring unlocked between verbs.</summary>
internal static class AgentVerb
{
    private const int NotDumpable = 4;

    internal static Verb Create(VerbContext context)
    {
        Verb agent = new(
            "agent",
            "Shows, locks or stops the agent that holds keyrings unlocked",
            "tdfs agent status     # how many keyrings it holds, and how long",
            "tdfs agent lock       # forget them at once");
        agent.Add(Status(context));
        agent.Add(LockAll(context));
        agent.Add(Stop(context));
        agent.Add(Run(context));
        return agent;
    }

    private static AgentClient Client(VerbRun run) => new(AgentPaths.Socket(run.Environment));

    private static Verb Status(VerbContext context)
    {
        Verb status = new("status", "Says what the agent holds", "tdfs agent status");
        status.Does(context, (run, _) =>
        {
            (int Count, TimeSpan Left)? held = Client(run).TryStatus();
            run.Output.Result(
                json =>
                {
                    json.WriteBoolean("running", held is not null);
                    json.WriteNumber("keyrings", held?.Count ?? 0);
                    json.WriteNumber("secondsLeft", Math.Ceiling(held?.Left.TotalSeconds ?? 0));
                },
                text => text.WriteLine(held is not { Count: > 0 } known
                    ? "locked: the agent holds no keyring"
                    : $"unlocked: {Show.Count(known.Count, "keyring")}, for {Show.Duration(known.Left)} at most"));
            return Task.FromResult(ExitCode.Ok);
        });
        return status;
    }

    private static Verb LockAll(VerbContext context)
    {
        Verb verb = new("lock", "Makes the agent forget every keyring", "tdfs agent lock");
        verb.Does(context, (run, _) =>
        {
            bool held = Client(run).TryLock([]) == true;
            run.Output.Result(
                json =>
                {
                    json.WriteBoolean("locked", true);
                    json.WriteBoolean("wasUnlocked", held);
                },
                _ => run.Output.Say(held ? "locked" : "locked already: the agent held no keyring"));
            return Task.FromResult(ExitCode.Ok);
        });
        return verb;
    }

    private static Verb Stop(VerbContext context)
    {
        Verb verb = new("stop", "Ends the agent", "tdfs agent stop");
        verb.Does(context, (run, _) =>
        {
            bool ran = Client(run).TryStop();
            run.Output.Result(
                json =>
                {
                    json.WriteBoolean("stopped", true);
                    json.WriteBoolean("wasRunning", ran);
                },
                _ => run.Output.Say(ran ? "stopped" : "stopped already: no agent runs"));
            return Task.FromResult(ExitCode.Ok);
        });
        return verb;
    }

    /// <summary>The agent itself. Started by the first verb that unlocks a keyring; hidden, since nobody needs to.</summary>
    private static Verb Run(VerbContext context)
    {
        Option<string?> socket = new("--socket") { Description = "Listen here", HelpName = "path" };
        Verb verb = new("run", "Runs the agent in the foreground") { socket };
        verb.Hidden = true;
        verb.Does(context, async (run, cancel) =>
        {
            // Neither core dumps nor other processes of the user may read the keys; where the call is refused the agent is as safe as any process.
            _ = OperatingSystem.IsLinux() ? Posix.ProcessControl(NotDumpable, 0, 0, 0, 0) : 0;
            _ = Posix.StartSession();
            using AgentServer? server = AgentServer.TryListen(run.Get(socket) ?? AgentPaths.Socket(run.Environment), run.Output.Clock);
            if (server is null)
            {
                return ExitCode.Ok;
            }

            run.Output.Data.WriteLine("listening");
            run.Output.Data.Flush();
            CloseStandardStreams();
            await server.RunAsync(cancel).ConfigureAwait(false);
            return ExitCode.Ok;
        });
        return verb;
    }

    /// <summary>Whoever started us waits for the end of our output, not for ours.</summary>
    private static void CloseStandardStreams()
    {
        int nothing = Posix.Open("/dev/null", Posix.ReadWrite);
        for (int stream = 0; stream <= 2 && nothing >= 0; stream++)
        {
            _ = Posix.Duplicate(nothing, stream);
        }

        if (nothing > 2)
        {
            _ = Posix.Close(nothing);
        }
    }
}
