"""The plain words of each domain, for the router: terms that hardly occur elsewhere, and terms that also do.

General vocabulary of the fields, as an index of a handbook would list it. Phrases and patterns are in `router.py`.
"""

from __future__ import annotations

from typing import Literal

Domain = Literal["academic", "legal", "medical", "coding"]

OWN: dict[Domain, str] = {
    "academic": """
         alliteration baccalaureate bachelor bibliography citation conjugation coursework curriculum
        declension derivative dissertation examiner fieldwork flashcard footnote freshman gerund gmat gpa gradebook
        gre homeschool homework hypotenuse iambic ielts integral invigilator kinematics lecturer logarithm lsat mcat
        midterm mitosis msc phd photosynthesis plagiarise plagiarism polynomial postgrad professor proofread
        quadratic seminar sophomore stoichiometry subjunctive syllabus term-paper theorem thermodynamics thesis
        titration toefl trigonometry tutor undergrad undergraduate valedictorian viva worksheet""",
    "legal": """
        acquit affidavit alimony appellant arbitration assault asylum attorney bail bailiff bankruptcy
        barrister bequest bylaw caveat child-support citizenship codicil conveyancing copyright
        counsel court custody damages deed defamation defendant deport deposition disclaimer dismissal divorce dui dwi
        easement emancipation embezzlement escrow estate eviction extradition felony fiduciary foreclosure fraud
        freehold garnish garnishment gdpr guardianship habeas heir hoa immigration indemnity indictment infringement
        inheritance injunction insolvency intestate jail judgment jurisdiction jurisprudence landlord larceny lawful
        lawsuit lawyer leasehold legal legality legislation liability libel lien litigation magistrate malpractice
        manslaughter mediation misdemeanor misdemeanour nda negligence notary ombudsman ordinance parole
        patent paternity perjury plaintiff plea prenup probate probation prosecutor quitclaim redundancy
        reimbursement restitution severance slander solicitor squatter statute statutory sublet subletting
        subpoena sue summons surety tenancy tenant testament testify testimony tort trademark trespass tribunal
        trustee unlawful usufruct verdict visa warrant whistleblower wrongful zoning""",
    "medical": """
        abdomen abscess acne adhd adrenal allergist allergy alzheimer amoxicillin anaemia anaesthetic anaphylaxis
        anemia anesthesia aneurysm angina antacid antibiotic antibody anticoagulant antidepressant antihistamine
        anxiety aorta appendicitis appendix arrhythmia artery arthritis aspirin asthma atrial autism autoimmune
        bacterial benzodiazepine beta-blocker biopsy bipolar bladder bleeding blister bloating bmi bowel bronchitis
        bruise bunion calorie cancer cannula cardiac cardiologist cartilage cataract cavity celiac cervical
        chemotherapy chickenpox chlamydia cholesterol cirrhosis clot coeliac colic colitis colon colonoscopy
        concussion congestion conjunctivitis constipation contraception contraceptive convulsion cortisol
        cortisone cough covid cramp crohn crp cyst deafness dehydration delirium dementia dentist depression
        dermatitis dermatologist diabetes diabetic diagnose diagnosis dialysis diarrhea diarrhoea diphtheria disorder
        diuretic dizziness dizzy dosage dose ecg eczema ekg embolism endometriosis enzyme epilepsy esophagus estrogen
        faint fainted fainting fertility fever fibroid fibromyalgia flu fracture gallbladder gallstone gastritis
        genital glaucoma glucose gluten gonorrhea gout gynaecologist haemorrhoid heartburn heartrate hemorrhoid
        hepatitis hernia herpes hiv hives hormone hypertension hypothyroid ibuprofen immune immunity incontinence
        indigestion infection inflammation inhaler insomnia insulin itchy jaundice ketamine kidney laxative
        lesion lethargic leukemia ligament lisinopril lithium liver lumbar lupus lyme lymph malaria mammogram measles
        medication medicine melanoma melatonin meningitis meniscus menopause menstrual menstruation metabolism
        metformin methadone midwife migraine miscarriage mole mononucleosis morphine mri mucus mumps nausea nauseous
        neurologist neuropathy nosebleed numbness obesity oncologist opioid orthodontist osteoporosis otitis ovary
        ovulation painkiller palpitation pancreas paracetamol paralysis parkinson pediatrician penicillin period-pain
        pharmacist phlegm physiotherapy placebo placenta plaque pneumonia polyp postpartum prednisone preeclampsia
        pregnancy pregnant prescription prostate prozac psoriasis psychiatrist psychosis pus rabies radiologist rash
        reflux rehab relapse rheumatism ringworm rubella salmonella scab scabies schizophrenia sciatica scoliosis
        seizure sepsis sertraline shingles shivering sinus sinusitis sneezing snoring spasm spleen sprain ssri stammer
        statin steroid stitches stoma stroke sunburn suture swelling swollen symptom syphilis tendon tendonitis
        testosterone tetanus throat thrombosis thrush thyroid tingling tinnitus tonsil toothache tremor
        tuberculosis tumor tumour ulcer ultrasound urination urine urologist uterus uti vaccinate vaccination vaccine
        vagina vein vertigo viagra vomit vomiting wart wheezing whiplash wisdom-tooth wound xanax""",
    "coding": """
        ajax algorithm android-studio angular ansible apache api argparse async aws azure backend bash binary-search
        bitwise bootstrap bytecode cargo changelog cherry-pick class-method cli codebase codec commit-hook compiler
        concurrency cors cpp cron css csv ctrl-c cuda curl daemon dataframe deadlock debugger decorator deserialise
        deserialize devops dijkstra div django dns docker dockerfile dom dotnet electron elixir endpoint enum env
        eslint excel-formula exception fastapi fetch-call ffmpeg firebase flask flexbox flutter fortran frontend gdb
        git github gitlab golang goroutine gradle graphql grep grpc gunicorn hadoop haskell heroku html http https ide
        idempotent iframe indexerror inheritance-diagram integer ios-app java javascript jest jinja jquery js json
        jupyter jvm jwt kafka keras kotlin kubernetes lambda laravel latex leetcode linter linux localhost lua
        makefile matlab maven memoize microservice middleware mongodb monorepo mutex mvc mysql namespace nestjs nextjs
        nginx nodejs npm nullpointer numpy oauth ocaml oop opencv orm overflow-error pagination pandas parser perl php
        pip playwright pointer-arithmetic postgres postgresql powershell prisma prolog pull-request pygame pypi pytest
        pytorch queryset r-script rabbitmq rails react readme rebase recursion redis refactor regex repl repo
        repository rspec runtime-error rust scala scipy scrapy sdk segfault selenium semaphore serializer serverless
        shellcheck sklearn spring-boot sql sqlalchemy sqlite ssh stackoverflow stderr stdout subprocess svelte
        swift-code symfony syntaxerror tailwind tcp tensorflow terraform timestamp tkinter traceback tsx tuple
        typeerror typescript ubuntu unicode unittest url utf-8 valueerror vba venv verilog vim vite vscode vue webhook
        webpack websocket wordpress-plugin xcode xml xpath yaml yarn""",
}
SHARED: dict[Domain, str] = {
    "academic": """
        abstract academic argument arts assessment bachelor-student biology chapter chemistry
        classmate college conclusion course definition degree discussion economics equation evaluate exercise
        experiment formula fraction geography geometry grade grader graph history introduction lab learner lecture
        library-card literature marker marks mathematics maths memorise memorize method outline passage physics poem
        presentation proof psychology pupil quiz quote ratio reading research research-question revise rubric
        science semester sheet sociology solve source statistics study submit summarize textbook
        translation university vocabulary""",
    "legal": """
        appeal nuisance oath complaint accident agent agreement alleged allowed application arrested authority ban bank benefit border breach builder
        cancel carer charge claim clause coercion company compensation compliance consent consumer contract council
        crime criminal deadline debt deposit dispute document employee employer enforce entitled evidence ex executor
        expire fault fee fired form fraudulent guilty hearing hire illegal insurance insurer invoice judge jury label
        law lease lend licence license loan manager marriage marry minor mortgage neglect neighbor notice
        obligation offence offense officer official owe ownership penalty pension permission permit police policy
        prison privacy promise property prove public purchase quit record refund refuse regulation rent resign retire
        rights rival rule salary security seller settle settlement signature signed sold speeding state steal stolen
        tax terms theft title trial union vehicle verbal violate violation wage warranty witness workplace
        works-council""",
    "medical": """
        ache addicted alcohol ambulance ankle arm belly bite blood body bone brain breast breath breathe breathing
        breathless burn calf capsule checkup chest clinic cream dental diet digest doctor drops drug ear elbow
        emergency eyelid face fasting fatigue finger foot forehead groin gum hair head headache heal health
         heart heel hip hospital hurting ill illness injection injured injury intake intestine itch jaw knee leg
        limp lip lump lung meal mental mouth muscle nail neck nerve newborn nose nurse nutrition ointment operation
        oral organ pain painful palm patch patient pill poison pregnant-wife pressure protein puffy pulse pus
        recover recovery rib ringing scalp scan scar shin shiver shot shoulder sick skin smoke sneeze sore specialist
        spine stiff stomach sugar supplement surgery swallow swallowed sweat teeth temperature therapist
        therapy thigh throwing-up thumb tired toddler toe tongue tooth treat treatment unwell virus vision vitamin
         weak weakness weight wrist""",
    "coding": """
        account admin app array attribute authentication block boolean branch browser bug button byte cache
        caching cell click clone cloud code column command commit compile component computer config conflict
        connection console constructor content cookie crash database debug default delete dependency deploy developer
        directory docs driver dropdown encode encrypt error event execute export factory fetch field file filter
        firewall folder form format framework frontpage function hash header hook host if-statement import index input
        install instance interface invalid item iterate iteration keyboard-shortcut label leak leaks link load
        lock log login loop machine memory merge method migration module network node null object-oriented
        offset output package page parameter parse password path payload permission pipeline plugin pointer port print
        process program programmer property proxy query queue random remote render response retry router runtime
        save schema script scroll sdk-key search server service session setting sort spreadsheet stack statement
        static storage string style submit-button syntax system tag target terminal thread timeout token
        transaction undefined update upgrade upload user username validate value variable virtual widget""",
}
