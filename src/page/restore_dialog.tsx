/** Leads through a restore: backup or instant, target, plan, confirmation, progress, outcome. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { RestoreDocument, RestorePlanDocument } from "../api/restore_schemas.ts";
import { failureOf, post } from "./api_client.ts";
import { Dialog } from "./dialog.tsx";
import { FailureBox } from "./facts.tsx";
import { RestorePlan } from "./restore_plan.tsx";
import { RestoreRun } from "./restore_run.tsx";
import { firstWanted, planRequestOf } from "./restore_steps.ts";
import { RestoreTarget } from "./restore_target.tsx";
import { RestoreWanted } from "./restore_wanted.tsx";
import type { Failure, PageState } from "./state.ts";

interface RestoreDialogProps {
  state: PageState;
  backupId: string | undefined;
  onClose: () => void;
}

const TITLES = {
  wanted: "Restore: what",
  target: "Restore: where to",
  plan: "Restore: what will happen",
  run: "Restore",
} as const;

type Step = keyof typeof TITLES;

export function RestoreDialog({ state, backupId, onClose }: RestoreDialogProps): JSX.Element {
  // Chosen from what was there when the dialog was opened: a list that grows under the hand is none.
  const [backups] = useState(state.backups?.backups ?? []);
  const [step, setStep] = useState<Step>("wanted");
  const [wanted, setWanted] = useState(() => firstWanted(backups, backupId));
  const [destination, setDestination] = useState({ device: "", file: "", changedOnly: false });
  const [plan, setPlan] = useState<RestorePlanDocument>();
  const [started, setStarted] = useState<RestoreDocument>();
  const { attempt, isAsking, failure } = useAttempt();

  const request = planRequestOf(wanted, destination, backups);
  const makePlan = (): Promise<void> =>
    attempt(async () => {
      setPlan(await post<RestorePlanDocument>("/v1/restores/plan", request ?? {}));
      setStep("plan");
    });
  const start = (confirmation: string, verify: boolean): Promise<void> =>
    attempt(async () => {
      const asked = { planId: plan?.planId, confirmation, verify };
      setStarted(await post<RestoreDocument>("/v1/restores", asked));
      setStep("run");
    });
  const restore = state.restores.find(({ id }) => id === started?.id) ?? started;
  // Cut off, nobody can tell when it ends: it may be closed then.
  const isRunning = restore?.state === "running" && state.connection.kind === "open";
  const isBusy = isAsking || isRunning;
  const buttons = { isAsking, onBack: () => setStep(step === "plan" ? "target" : "wanted") };
  return (
    <Dialog title={TITLES[step]} step={step} isBusy={isBusy} onClose={onClose}>
      {step === "wanted" && (
        <RestoreWanted {...{ backups, wanted, setWanted }} onNext={() => setStep("target")} />
      )}
      {step === "target" && (
        <RestoreTarget
          {...{ destination, setDestination, ...buttons }}
          isReady={request !== undefined}
          onNext={() => void makePlan()}
        />
      )}
      {step === "plan" && plan && (
        <RestorePlan
          {...{ plan, ...buttons }}
          onStart={(typed, verify) => void start(typed, verify)}
        />
      )}
      {step === "run" && restore && <RestoreRun {...{ restore, state, onClose }} />}
      {failure && <FailureBox failure={failure} />}
    </Dialog>
  );
}

interface Attempt {
  attempt: (work: () => Promise<void>) => Promise<void>;
  isAsking: boolean;
  failure: Failure | undefined;
}

function useAttempt(): Attempt {
  const [isAsking, setAsking] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setAsking(true);
    setFailure(undefined);
    await work().catch((error: unknown) => setFailure(failureOf(error)));
    setAsking(false);
  };
  return { attempt, isAsking, failure };
}
